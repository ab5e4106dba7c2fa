// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// sync brings one claim and the spaces recorded for it in step.
func (c *Controller) sync(ctx context.Context, key types.NamespacedName) error {
	claim, err := c.claims.ResourceClaims(key.Namespace).Get(key.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("look up ResourceClaim %s in the cache: %w", key, err)
	}
	allocation := identity.Of(claim, c.Settings.Driver)
	// A space that can't be ended must not keep the next one waiting, nor the
	// other way round.
	return utilerrors.NewAggregate([]error{
		c.endOthers(ctx, key, allocation),
		c.ensure(ctx, claim, allocation),
	})
}

// endOthers ends the spaces recorded for the claim that its allocation does not ask for.
func (c *Controller) endOthers(ctx context.Context, key types.NamespacedName, cached *identity.Allocation) error {
	recorded, err := c.namespaces.ByIndex(byClaim, key.String())
	if err != nil {
		return fmt.Errorf("look up the spaces of ResourceClaim %s in the cache: %w", key, err)
	}
	var surplus []*corev1.Namespace
	for _, obj := range recorded {
		if ns := obj.(*corev1.Namespace); !cached.Owns(ns, c.keys) && !c.ended(ns) {
			surplus = append(surplus, ns)
		}
	}
	if len(surplus) == 0 {
		return nil
	}

	// The cache may lag behind. Nothing is deleted on its word alone.
	live, err := c.Client.ResourceV1().ResourceClaims(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		live = nil
	case err != nil:
		return fmt.Errorf("confirm that ResourceClaim %s is deallocated: %w", key, err)
	}
	living := identity.Of(live, c.Settings.Driver)
	var errs []error
	for _, ns := range surplus {
		if living.Owns(ns, c.keys) {
			continue
		}
		did, err := c.end(ctx, ns)
		switch {
		case err != nil:
			c.eventOnClaimOf(ns, live, corev1.EventTypeWarning, spaceapi.ReasonDeletionFailed, err.Error())
			errs = append(errs, err)
		case did:
			c.eventOnClaimOf(ns, live, corev1.EventTypeNormal, spaceapi.ReasonDeleted,
				fmt.Sprintf("Claim deallocated: credentials revoked and namespace %s deleted", ns.Name))
		}
	}
	return utilerrors.NewAggregate(errs)
}

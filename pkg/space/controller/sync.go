// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	claim := c.claim(key)
	p, err := c.planFor(claim)
	if err != nil {
		return err
	}
	if claim == nil {
		c.failed.forget(key)
	}
	if p == nil {
		c.places.forget(key)
	}
	if p != nil && !p.ends.IsZero() && !p.expired {
		c.queue.AddAfter(key, p.ends.Sub(c.Clock.Now()))
	}
	// A space that can't be ended must not keep the next one waiting, nor the
	// other way round.
	errs := []error{c.endOthers(ctx, key, p.spaces())}
	if p != nil {
		errs = append(errs, c.ensure(about(ctx, p.ClaimUID), claim, p))
	}
	return utilerrors.NewAggregate(errs)
}

// uidOf is the UID of the claim of that name or, if it has gone, of one that had the
// name and left spaces. It is empty when nothing is known.
func (c *Controller) uidOf(key types.NamespacedName) types.UID {
	if claim := c.claim(key); claim != nil {
		return claim.UID
	}
	if recorded, err := c.recordedFor(key); err == nil && len(recorded) > 0 {
		return claimUIDOf(recorded[0], c.keys)
	}
	return ""
}

// claimUIDOf is the UID of the claim in a namespace's record.
func claimUIDOf(ns *corev1.Namespace, keys spaceapi.Keys) types.UID {
	return types.UID(ns.Labels[keys.ClaimUID])
}

// endOthers ends the spaces recorded for the claim that its allocation does not ask for.
func (c *Controller) endOthers(ctx context.Context, key types.NamespacedName, cached *identity.Allocation) error {
	recorded, err := c.recordedFor(key)
	if err != nil {
		return err
	}
	var surplus []*corev1.Namespace
	for _, ns := range recorded {
		c.reportStuck(about(ctx, claimUIDOf(ns, c.keys)), ns)
		if !cached.Owns(ns, c.keys) && !c.ended(ns) {
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
	p, err := c.planFor(live)
	if err != nil {
		return err
	}
	living, why := p.spaces(), "Claim deallocated"
	if p != nil && p.expired {
		why = "Lifetime over"
	}
	var errs []error
	for _, ns := range surplus {
		if living.Owns(ns, c.keys) {
			continue
		}
		did, err := c.end(about(ctx, claimUIDOf(ns, c.keys)), ns)
		switch {
		case err != nil && errors.Is(ctx.Err(), context.Canceled):
			// It was told to stop, or is not the leader any more. The next one goes on.
			errs = append(errs, err)
		case err != nil:
			c.eventOnSpace(ns, live, corev1.EventTypeWarning, spaceapi.ReasonDeletionFailed, err.Error())
			errs = append(errs, err)
		case did.kept:
			c.eventOnSpace(ns, live, corev1.EventTypeNormal, spaceapi.ReasonRetained,
				fmt.Sprintf("%s: credentials revoked, namespace %s is kept until %s", why, ns.Name, did.until.UTC().Format(time.RFC3339)))
		case did.something:
			c.eventOnClaimOf(ns, live, corev1.EventTypeNormal, spaceapi.ReasonDeleted,
				fmt.Sprintf("%s: credentials revoked and namespace %s deleted", why, ns.Name))
		}
	}
	return utilerrors.NewAggregate(errs)
}

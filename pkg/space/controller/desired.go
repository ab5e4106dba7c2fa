// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

// desired is what an allocated claim is to have.
type desired struct {
	*allocation.Allocation
	claim *resourceapi.ResourceClaim
	// inUse is whether the claim's status says that the spaces are ready.
	inUse bool
	// spaces are in the order of the allocation's results.
	spaces []space
	// rejected is why the allocation gets nothing, or nil.
	rejected error
	// lifetime is how long the spaces may exist, and expiresIn is what is left of it. They are
	// zero if there is no limit, and expiresIn is zero for expired spaces.
	lifetime, expiresIn time.Duration
	expired             bool
}

// space is what a result of the allocation is to have.
type space struct {
	allocation.Result
	config spaceconfig.SpaceConfig
	// name is that of the namespace.
	name string
	// namespace is the cached one, or nil. Provisioning replaces nil, and sets the fields that
	// follow.
	namespace         *corev1.Namespace
	objects           resources.Objects
	serviceAccountUID types.UID
}

// desire returns what the claim, which may be nil, is to have. It is nil for a claim that is
// not allocated. The namespaces are those of the claim.
func (r *Reconciler) desire(ctx context.Context, claim *resourceapi.ResourceClaim, namespaces []corev1.Namespace) (*desired, error) {
	driver := r.config.Defaults.Driver
	a := allocation.FromClaim(claim, driver)
	if a == nil {
		return nil, nil
	}
	d := &desired{Allocation: a, claim: claim, inUse: isReady(claim, driver, a), spaces: make([]space, len(a.Results))}
	// An admission policy of the chart rejects claims in spaces when they are written, but it
	// knows only the classes that it was configured with, and it can be removed. The cache has
	// no namespaces but those of spaces.
	outer := &corev1.Namespace{}
	err := r.client.Get(ctx, client.ObjectKey{Name: a.Claim.Namespace}, outer)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	if err == nil && outer.Labels[r.keys.NestedSpaces] != spaceapi.NestedSpacesAllowed {
		d.rejected = fmt.Errorf("claims in namespace %s cannot get spaces: it is a space whose DeviceClass does not set allowNestedSpaces", a.Claim.Namespace)
	}

	start := a.AllocatedAt
	containers := make([]spaceconfig.Container, len(a.Results))
	for i, result := range a.Results {
		space := &d.spaces[i]
		space.Result = result
		for j := range namespaces {
			// A space keeps its name when the prefix changes.
			if ns := &namespaces[j]; a.Owns(ns, r.keys) && result.MatchesName(ns.Name) {
				space.namespace = ns
			}
		}
		space.config, err = r.config.Defaults.Resolve(a, result)
		if err == nil {
			err = r.config.Defaults.CheckAllowed(space.config.Recorded)
		}
		if space.namespace != nil {
			// What is recorded has precedence over what parameters and settings give now.
			if recorded, damaged := spaceconfig.DecodeRecorded(space.namespace.Annotations[r.keys.Config]); damaged == nil {
				space.config.Recorded, err = recorded, nil
			}
		}
		if err != nil && d.rejected == nil {
			d.rejected = err
		}
		if lifetime := space.config.MaxLifetime.Duration; lifetime > 0 && (d.lifetime == 0 || lifetime < d.lifetime) {
			d.lifetime = lifetime
		}
		space.name = result.NamespaceName(space.config.NamespacePrefix)
		if space.namespace != nil {
			space.name = space.namespace.Name
			if created := space.namespace.CreationTimestamp.Time; a.AllocatedAt.IsZero() && (start.IsZero() || created.Before(start)) {
				start = created
			}
		}
		containers[i] = space.config.Container
	}
	if d.rejected == nil {
		// No node could prepare it.
		d.rejected = containeredits.Validate(driver, a, containers)
	}
	if d.lifetime > 0 {
		left := d.lifetime
		if !start.IsZero() {
			left -= r.clock.Since(start)
		}
		d.expired = left <= 0 || a.AllocatedAt.IsZero() && isExpired(claim, driver, a)
		if !d.expired {
			d.expiresIn = left
		}
	}
	return d, nil
}

// hasBindingConditions returns whether the scheduler waits for the spaces before it binds a pod.
func (d *desired) hasBindingConditions() bool {
	return slices.ContainsFunc(d.Results, func(result allocation.Result) bool { return len(result.BindingConditions) > 0 })
}

// keeps returns whether a namespace is one of the spaces that may exist: Owns is true, and it has
// not expired. d may be nil.
func (d *desired) keeps(ns *corev1.Namespace, keys spaceapi.Keys) bool {
	return d != nil && !d.expired && d.Owns(ns, keys)
}

// recordedConfig returns the recorded configuration of the space in a namespace. If it is
// damaged, that is everything that a space can have, with unknown ClusterRoles, and without
// retention.
func (r *Reconciler) recordedConfig(ns *corev1.Namespace) spaceconfig.Recorded {
	recorded, err := spaceconfig.DecodeRecorded(ns.Annotations[r.keys.Config])
	if err != nil {
		return spaceconfig.Recorded{ClusterRoles: make([]string, spaceapi.MaxClusterRoles), ClusterWideRoles: r.config.Defaults.ClusterWideRoles}
	}
	return recorded
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

// desiredState is what an allocated claim is to have.
type desiredState struct {
	allocation *allocation.Allocation
	// spaces are in the order of the allocation's results.
	spaces []desiredSpace
	// rejected is why the allocation gets nothing, or nil.
	rejected error
	// lifetime is how long the spaces may exist, and expires is when that is over. If zero,
	// there is no limit.
	lifetime time.Duration
	expires  time.Time
	expired  bool
}

// desiredSpace is what a result of the allocation is to have.
type desiredSpace struct {
	result allocation.Result
	name   string
	config spaceconfig.SpaceConfig
	// existing is the cached namespace that was created for the result, or nil.
	existing *corev1.Namespace
}

// desire returns what the claim, which may be nil, is to have. It is nil for a claim that is
// not allocated. The spaces are the cached namespaces of the claim.
func (r *Reconciler) desire(ctx context.Context, claim *resourceapi.ResourceClaim, spaces []corev1.Namespace) (*desiredState, error) {
	driver := r.config.Defaults.Driver
	a := allocation.FromClaim(claim, driver)
	if a == nil {
		return nil, nil
	}
	d := &desiredState{allocation: a, spaces: make([]desiredSpace, len(a.Results))}
	nested, err := r.nestingForbidden(ctx, a)
	if err != nil {
		return nil, err
	}
	if nested {
		d.rejected = fmt.Errorf("claims in namespace %s cannot get spaces: it is a space whose DeviceClass does not set allowNestedSpaces", a.Claim.Namespace)
	}
	containers := make([]spaceconfig.Container, len(a.Results))
	for i, result := range a.Results {
		space := desiredSpace{result: result}
		for j := range spaces {
			// A space keeps its name when the prefix changes.
			if a.Owns(&spaces[j], r.keys) && result.MatchesName(spaces[j].Name) {
				space.existing = &spaces[j]
			}
		}
		var err error
		if space.config, err = r.spaceConfig(a, result, space.existing); err != nil && d.rejected == nil {
			d.rejected = err
		}
		space.name = result.NamespaceName(space.config.NamespacePrefix)
		if space.existing != nil {
			space.name = space.existing.Name
		}
		if lifetime := space.config.MaxLifetime.Duration; lifetime > 0 && (d.lifetime == 0 || lifetime < d.lifetime) {
			d.lifetime = lifetime
		}
		d.spaces[i], containers[i] = space, space.config.Container
	}
	if d.rejected == nil {
		// No node could prepare it.
		d.rejected = containeredits.Validate(driver, a, containers)
	}
	if d.lifetime > 0 {
		d.expires = r.startOf(d).Add(d.lifetime)
		d.expired = !r.clock.Now().Before(d.expires) || a.AllocatedAt.IsZero() && isExpired(claim, driver, a)
	}
	return d, nil
}

// nestingForbidden returns whether the claim is in the namespace of a space that must not have
// spaces in it. An admission policy of the chart rejects such claims when they are written,
// but it knows only the classes that it was configured with, and it can be removed.
func (r *Reconciler) nestingForbidden(ctx context.Context, a *allocation.Allocation) (bool, error) {
	ns := &corev1.Namespace{}
	err := r.client.Get(ctx, client.ObjectKey{Name: a.Claim.Namespace}, ns)
	return err == nil && ns.Labels[r.keys.NestedSpaces] != spaceapi.NestedSpacesAllowed, client.IgnoreNotFound(err)
}

// spaceConfig returns the configuration of a result's space. What its Namespace, which may
// be nil, records has precedence over what parameters and settings give now. The error is why
// the space cannot be provisioned.
func (r *Reconciler) spaceConfig(a *allocation.Allocation, result allocation.Result, existing *corev1.Namespace) (spaceconfig.SpaceConfig, error) {
	space, err := r.config.Defaults.Resolve(a, result)
	if existing != nil {
		if recorded, damaged := spaceconfig.DecodeRecorded(existing.Annotations[r.keys.Config]); damaged == nil {
			space.Recorded = recorded
			return space, nil
		}
	}
	if err != nil {
		return space, err
	}
	return space, r.config.Defaults.CheckAllowed(space.Recorded)
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

// startOf returns when the lifetime of the allocation's spaces began.
func (r *Reconciler) startOf(d *desiredState) time.Time {
	if !d.allocation.AllocatedAt.IsZero() {
		return d.allocation.AllocatedAt
	}
	start := r.clock.Now()
	for _, space := range d.spaces {
		if space.existing != nil && space.existing.CreationTimestamp.Time.Before(start) {
			start = space.existing.CreationTimestamp.Time
		}
	}
	return start
}

// untilExpiry returns the time until the spaces expire. It is zero if they never do, or have expired.
func (r *Reconciler) untilExpiry(d *desiredState) time.Duration {
	if d.expires.IsZero() || d.expired {
		return 0
	}
	return d.expires.Sub(r.clock.Now())
}

// activeAllocation returns the allocation whose spaces may exist, or nil.
func (d *desiredState) activeAllocation() *allocation.Allocation {
	if d == nil || d.expired {
		return nil
	}
	return d.allocation
}

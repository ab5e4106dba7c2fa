// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// provisionOrRestore provisions the spaces of an allocation, or restores them. Tenants can delete the
// objects in their space repeatedly. After each restore of an allocation, the next one is therefore
// delayed, by a time that doubles from firstRetry to lastRetry and is reset after twice lastRetry
// without a restore. The first restore, recording nodes, recreating a namespace, and deprovisioning are
// not delayed. It returns the delay until the next reconcile, zero for never.
func (r *Reconciler) provisionOrRestore(ctx context.Context, desired *desiredClaim) (time.Duration, error) {
	waits := r.restores.IsInBackOffSinceUpdate(desired.ID, r.clock.Now())
	switch complete := !slices.ContainsFunc(desired.spaces, func(space *desiredSpace) bool { return space.namespace == nil }); {
	case desired.expired:
		return r.provision(ctx, desired)
	case waits && complete:
		after, err := r.recordNodes(ctx, desired)
		return soonest(after, r.restores.Get(desired.ID)), err
	}
	after, err := r.provision(ctx, desired)
	// A space that could not be restored is no longer in use.
	if desired.restored.Load() || err != nil && r.restores.Get(desired.ID) > 0 {
		r.restores.Next(desired.ID, r.clock.Now())
		after = soonest(after, r.restores.Get(desired.ID))
	}
	return after, err
}

// waitsForRestore reports whether the restore of the space in a namespace is delayed. A reconcile is
// already scheduled then.
func (r *Reconciler) waitsForRestore(ns *corev1.Namespace) bool {
	return r.restores.IsInBackOffSinceUpdate(ns.Labels[r.keys.AllocationID], r.clock.Now())
}

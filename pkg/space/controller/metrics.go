// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// leaderOnly returns a function that calls count in the leader, and counts nothing in a standby.
// Otherwise a sum over all controllers would count everything twice.
func leaderOnly[T any](elected <-chan struct{}, count func() T) func() T {
	return func() (none T) {
		select {
		case <-elected:
			return count()
		default:
			return none
		}
	}
}

// countSpaces counts the spaces by state and pool.
func (r *Reconciler) countSpaces() map[metrics.SpaceLabels]int {
	out := map[metrics.SpaceLabels]int{}
	driver := r.config.Defaults.Driver
	claims, namespaces := r.listCached(context.Background())
	allocations := map[types.NamespacedName]*allocation.Allocation{}
	for i := range claims {
		claim := &claims[i]
		a := allocation.FromClaim(claim, driver)
		if a == nil {
			continue
		}
		allocations[a.Claim] = a
		expired := isExpired(claimstatus.Conditions(claim, driver, a.Results[0]))
		for _, result := range a.Results {
			state := metrics.StateProvisioning
			if _, data, err := claimstatus.Read(claim, driver, a, result); err == nil && data != nil {
				state = metrics.StateReady
			} else if expired {
				state = metrics.StateExpired // counts against its pool until the claim is deallocated
			}
			out[metrics.SpaceLabels{State: state, Pool: result.Pool}]++
		}
	}
	for _, ns := range namespaces {
		pool := ns.Annotations[r.keys.Pool]
		switch {
		case ns.DeletionTimestamp == nil && !r.retainedUntil(&ns).IsZero():
			out[metrics.SpaceLabels{State: metrics.StateRetained, Pool: pool}]++
		case ns.DeletionTimestamp != nil || !allocations[claimOf(&ns, r.keys)].Owns(&ns, r.keys):
			out[metrics.SpaceLabels{State: metrics.StateTerminating, Pool: pool}]++
		}
	}
	return out
}

// countStuckTerminating counts the namespaces whose deletion takes too long.
func (r *Reconciler) countStuckTerminating() int {
	_, namespaces := r.listCached(context.Background())
	n := 0
	for _, ns := range namespaces {
		if ns.DeletionTimestamp != nil && r.clock.Since(ns.DeletionTimestamp.Time) >= r.config.StuckTerminatingAfter {
			n++
		}
	}
	return n
}

// poolLimits returns the limits of pools. It has those of pools per node for nodes with spaces only.
func (r *Reconciler) poolLimits() map[string]int64 {
	out := map[string]int64{}
	spaces := r.countSpaces()
	for _, pool := range r.config.Pools {
		if pool.Limit != nil {
			out[pool.Name] = *pool.Limit
		}
		if pool.PerNode == nil || pool.PerNode.Limit == nil {
			continue
		}
		for of := range spaces {
			if strings.HasPrefix(of.Pool, pool.Name+"/") {
				out[of.Pool] = *pool.PerNode.Limit
			}
		}
	}
	return out
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// spaceCollector computes metrics from the caches at each scrape.
type spaceCollector struct {
	r *Reconciler
	// elected is closed when this process leads. A standby shows nothing: in a sum over
	// all controllers, everything would be counted twice.
	elected <-chan struct{}
}

// spaces counts the spaces by state and pool.
func (c *spaceCollector) spaces() map[metrics.Spaces]int {
	out := map[metrics.Spaces]int{}
	driver := c.r.config.Defaults.Driver
	var claims resourceapi.ResourceClaimList
	c.list(&claims)
	allocations := map[types.NamespacedName]*allocation.Allocation{}
	for i := range claims.Items {
		claim := &claims.Items[i]
		a := allocation.FromClaim(claim, driver)
		if a == nil {
			continue
		}
		allocations[a.Claim] = a
		expired := isExpired(claim, driver, a)
		for _, result := range a.Results {
			state := metrics.StatePending
			if _, data, err := claimstatus.Read(claim, driver, a, result); err == nil && data != nil {
				state = metrics.StateReady
			} else if expired {
				state = metrics.StateExpired // it counts against its pool until the claim is deallocated
			}
			out[metrics.Spaces{State: state, Pool: result.Pool}]++
		}
	}
	for _, ns := range c.namespaces() {
		switch {
		case ns.DeletionTimestamp == nil && !c.r.retainedUntil(&ns).IsZero():
			out[metrics.Spaces{State: metrics.StateRetained}]++
		case ns.DeletionTimestamp != nil || !allocations[claimOf(&ns, c.r.keys)].Owns(&ns, c.r.keys):
			out[metrics.Spaces{State: metrics.StateTerminating}]++
		}
	}
	return out
}

// stuckTerminating counts the namespaces whose deletion takes too long.
func (c *spaceCollector) stuckTerminating() int {
	n := 0
	for _, ns := range c.namespaces() {
		if ns.DeletionTimestamp != nil && c.r.clock.Since(ns.DeletionTimestamp.Time) >= c.r.config.NamespaceDeletionTimeout {
			n++
		}
	}
	return n
}

// poolLimits returns the limits of pools. Those of pools per node are shown for nodes with
// spaces only: without any, a limit does not matter.
func (c *spaceCollector) poolLimits() map[string]int64 {
	out := map[string]int64{}
	if !c.leads() {
		return out
	}
	spaces := c.spaces()
	for _, pool := range c.r.config.Pools {
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

func (c *spaceCollector) namespaces() []corev1.Namespace {
	var list corev1.NamespaceList
	c.list(&list)
	return list.Items
}

// list lists cached objects, which must not be changed.
func (c *spaceCollector) list(list client.ObjectList) {
	if !c.leads() {
		return
	}
	if err := c.r.client.List(context.Background(), list, client.UnsafeDisableDeepCopy); err != nil {
		utilruntime.HandleError(err)
	}
}

func (c *spaceCollector) leads() bool {
	select {
	case <-c.elected:
		return true
	default:
		return false
	}
}

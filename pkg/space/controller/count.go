// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// count says how many spaces there are, from the caches. A standby says nothing.
func (c *Controller) count() map[metrics.Spaces]int {
	if !c.leads.Load() {
		return nil
	}
	out := map[metrics.Spaces]int{}
	claims, err := c.claims.List(labels.Everything())
	if err != nil {
		return nil // the cache gives no error
	}
	for _, claim := range claims {
		a := identity.Of(claim, c.Settings.Driver)
		if a == nil {
			continue
		}
		for _, share := range a.Shares {
			state := metrics.StatePending
			if ready, data, err := status.Read(claim, c.Settings.Driver, a, share); err == nil && data != nil {
				state = metrics.StateReady
			} else if err == nil && ready != nil && ready.Reason == spaceapi.ReasonExpired {
				state = metrics.StateExpired // It takes room in its pool as long as its claim is in use.
			}
			out[metrics.Spaces{State: state, Pool: share.Pool}]++
		}
	}
	for _, obj := range c.namespaces.List() {
		switch ns := obj.(*corev1.Namespace); {
		case ns.DeletionTimestamp == nil && !c.keptUntil(ns).IsZero():
			out[metrics.Spaces{State: metrics.StateRetained}]++
		case !c.inStep(ns):
			out[metrics.Spaces{State: metrics.StateEnding}]++
		}
	}
	return out
}

// poolLimits says how many spaces the pools have that have a limit. Those of nodes
// are known here only by the spaces in them; without any, a limit does not matter.
func (c *Controller) poolLimits() map[string]int64 {
	if !c.leads.Load() {
		return nil
	}
	out := map[string]int64{}
	perNode := map[string]int64{}
	for _, p := range c.Pools {
		switch {
		case p.Limit != nil:
			out[p.Name] = *p.Limit
		case p.PerNode != nil && p.PerNode.Limit != nil:
			perNode[p.Name] = *p.PerNode.Limit
		}
	}
	if len(perNode) == 0 {
		return out
	}
	for spaces := range c.count() {
		for name, limit := range perNode {
			if strings.HasPrefix(spaces.Pool, name+"/") {
				out[spaces.Pool] = limit
			}
		}
	}
	return out
}

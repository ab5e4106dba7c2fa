// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

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
			if _, data, err := status.Read(claim, c.Settings.Driver, a, share); err == nil && data != nil {
				state = metrics.StateReady
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

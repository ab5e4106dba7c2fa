// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// sweepPeriodically looks at everything again and again until the context ends.
// Events say what to do sooner; this is for what no event came for.
func (c *Controller) sweepPeriodically(ctx context.Context) {
	ticker := c.Clock.NewTicker(c.ResyncPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			c.sweep(ctx)
		}
	}
}

// sweep has each claim looked at that is out of step with its spaces, as far as
// the caches know. It costs no API call for what is in step, and decides nothing:
// sync does, with a live look.
func (c *Controller) sweep(ctx context.Context) {
	c.Metrics.Resyncs.WithLabelValues().Inc()
	exist := map[types.UID]bool{}
	for ns := range c.allNamespaces() {
		exist[ns.UID] = true
		if !c.inStep(ns) {
			if !c.ended(ns) {
				c.Metrics.Corrections.WithLabelValues(metrics.StaleNamespace).Inc()
			}
			c.enqueueClaimOf(ns)
		}
	}
	// What is remembered of a namespace while its deletion is noticed would stay.
	has := func(uid types.UID) bool { return exist[uid] }
	c.stuck.keepOnly(has)
	c.settled.keepOnly(has)
	c.forgetGone()
	c.sweepClusterWide(ctx)
	for claim := range c.allClaims() {
		if a := identity.Of(claim, c.Settings.Driver); a != nil && !isReady(claim, c.Settings.Driver, a) {
			c.Metrics.Corrections.WithLabelValues(metrics.UnprovisionedClaim).Inc()
			c.queue.Add(claimKey(claim))
		}
	}
}

// inStep says whether a namespace is that of a living allocation, and is not on
// its way out.
func (c *Controller) inStep(ns *corev1.Namespace) bool {
	return ns.DeletionTimestamp == nil && identity.Of(c.claim(c.claimOf(ns)), c.Settings.Driver).Owns(ns, c.keys)
}

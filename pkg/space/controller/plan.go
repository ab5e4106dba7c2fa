// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"time"

	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
	"github.com/space-dra/space-dra-driver/pkg/space/view"
)

// plan is what a claim is to have.
type plan struct {
	*identity.Allocation
	// effective holds, for each share, what was said about its space.
	effective []parameters.Effective
	// refused is why the allocation gets nothing, or nil.
	refused error
	// lifetime is how long its spaces may exist, and ends is when that is over.
	// Zero: without a limit.
	lifetime time.Duration
	ends     time.Time
	expired  bool
}

// planFor says what a claim, which may be nil, is to have. It is nil for a claim
// that is not allocated.
func (c *Controller) planFor(claim *resourceapi.ResourceClaim) (*plan, error) {
	a := identity.Of(claim, c.Settings.Driver)
	if a == nil {
		return nil, nil
	}
	p := &plan{Allocation: a, effective: make([]parameters.Effective, len(a.Shares)), refused: c.checkNested(a)}
	installation := parameters.Installation{
		Driver:      c.Settings.Driver,
		ClusterRole: c.Settings.ClusterRole,
		PodSecurity: c.Settings.PodSecurity,
		Network:     c.Settings.Network,
	}
	for i, share := range a.Shares {
		var refused error
		if p.effective[i], refused = parameters.For(installation, a.Configs, share.Request, a.Requests()); refused == nil {
			// Spaces from before the installation changed end in time all the same.
			refused = c.mayGive(share, &p.effective[i])
		}
		if p.refused == nil {
			p.refused = refused
		}
		if life := p.effective[i].MaxLifetime; life > 0 && (p.lifetime == 0 || life < p.lifetime) {
			p.lifetime = life
		}
	}
	if p.refused == nil {
		// No node could prepare it.
		p.refused = view.Check(c.Settings.Driver, a, p.effective)
	}
	if p.lifetime == 0 {
		return p, nil
	}
	start, err := c.startOf(p)
	if err != nil {
		return nil, err
	}
	p.ends = start.Add(p.lifetime)
	p.expired = !c.Clock.Now().Before(p.ends) || saysExpired(claim, c.Settings.Driver, a)
	return p, nil
}

// startOf is when the life of an allocation's spaces began.
func (c *Controller) startOf(p *plan) (time.Time, error) {
	if !p.AllocatedAt.IsZero() {
		return p.AllocatedAt, nil
	}
	start := c.Clock.Now()
	recorded, err := c.recordedFor(p.Claim)
	if err != nil {
		return start, err
	}
	for _, ns := range recorded {
		if p.Owns(ns, c.keys) && ns.CreationTimestamp.Time.Before(start) {
			start = ns.CreationTimestamp.Time
		}
	}
	return start, nil
}

// saysExpired keeps a space ended whose time of allocation is not known, when its
// namespace has gone.
func saysExpired(claim *resourceapi.ResourceClaim, driver string, a *identity.Allocation) bool {
	if !a.AllocatedAt.IsZero() {
		return false
	}
	for _, share := range a.Shares {
		if ready, _, err := status.Ready(claim, driver, a, share); err == nil && ready != nil && ready.Reason == spaceapi.ReasonExpired {
			return true
		}
	}
	return false
}

// spaces is the allocation whose spaces may exist, or nil.
func (p *plan) spaces() *identity.Allocation {
	if p == nil || p.expired {
		return nil
	}
	return p.Allocation
}

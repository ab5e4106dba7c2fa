// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// counts are how many spaces there are. They are kept up to date with what changes,
// because to look at all spaces for whoever asks would take a second of 10,000.
type counts struct {
	mutex sync.Mutex
	total map[metrics.Spaces]int
	// claims has what was counted of each, and namespaces what was of those that are
	// of no living allocation any more, by name.
	claims     map[types.NamespacedName][]metrics.Spaces
	namespaces map[string]metrics.Spaces
	// alone has each of these in memory once: most claims have one space.
	alone map[metrics.Spaces][]metrics.Spaces
}

func newCounts() *counts {
	return &counts{
		total:      map[metrics.Spaces]int{},
		claims:     map[types.NamespacedName][]metrics.Spaces{},
		namespaces: map[string]metrics.Spaces{},
		alone:      map[metrics.Spaces][]metrics.Spaces{},
	}
}

// add counts so many more or, with a negative number, fewer.
func (c *counts) add(spaces metrics.Spaces, n int) {
	if c.total[spaces] += n; c.total[spaces] == 0 {
		delete(c.total, spaces)
	}
}

// setClaim counts these spaces of a claim instead of those that were.
func (c *counts) setClaim(claim types.NamespacedName, now []metrics.Spaces) {
	for _, spaces := range c.claims[claim] {
		c.add(spaces, -1)
	}
	for _, spaces := range now {
		c.add(spaces, 1)
	}
	switch len(now) {
	case 0:
		delete(c.claims, claim)
	case 1:
		if c.alone[now[0]] == nil {
			c.alone[now[0]] = now
		}
		c.claims[claim] = c.alone[now[0]]
	default:
		c.claims[claim] = now
	}
}

// setNamespace counts a namespace as this instead of what it was. Without a state it
// is not counted.
func (c *counts) setNamespace(name string, now metrics.Spaces) {
	if was, counted := c.namespaces[name]; counted {
		c.add(was, -1)
		delete(c.namespaces, name)
	}
	if now.State != "" {
		c.add(now, 1)
		c.namespaces[name] = now
	}
}

// recount counts a claim and its namespaces as the caches have them now. Others may do
// so at the same time: who comes last sees what the caches have at last.
func (c *Controller) recount(key types.NamespacedName) {
	c.counted.mutex.Lock()
	defer c.counted.mutex.Unlock()
	claim := c.claim(key)
	a := identity.Of(claim, c.Settings.Driver)
	c.counted.setClaim(key, c.spacesOf(claim, a))
	recorded, err := c.recordedFor(key)
	if err != nil {
		return // the cache gives no error
	}
	for _, ns := range recorded {
		c.counted.setNamespace(ns.Name, c.afterlife(ns, a))
	}
}

// recountNamespace counts a namespace as the caches have it now.
func (c *Controller) recountNamespace(name string) {
	c.counted.mutex.Lock()
	defer c.counted.mutex.Unlock()
	var now metrics.Spaces
	if ns := c.namespace(name); ns != nil {
		now = c.afterlife(ns, identity.Of(c.claim(c.claimOf(ns)), c.Settings.Driver))
	}
	c.counted.setNamespace(name, now)
}

// forgetGone counts no longer what the caches do not have. Handlers are told of what goes
// only from when they were registered on, and that is one after the other.
func (c *Controller) forgetGone() {
	c.counted.mutex.Lock()
	defer c.counted.mutex.Unlock()
	gone := func(informer cache.SharedIndexInformer, key string) bool {
		_, exists, err := informer.GetIndexer().GetByKey(key)
		return err == nil && !exists
	}
	for claim := range c.counted.claims {
		if gone(c.claimInformer, claim.String()) {
			c.counted.setClaim(claim, nil)
		}
	}
	for name := range c.counted.namespaces {
		if gone(c.namespaceInformer, name) {
			c.counted.setNamespace(name, metrics.Spaces{})
		}
	}
}

// spacesOf says how the spaces of a claim are. It may have no allocation.
func (c *Controller) spacesOf(claim *resourceapi.ResourceClaim, a *identity.Allocation) []metrics.Spaces {
	if a == nil {
		return nil
	}
	out := make([]metrics.Spaces, len(a.Shares))
	for i, share := range a.Shares {
		state := metrics.StatePending
		if condition, ready, err := status.Ready(claim, c.Settings.Driver, a, share); err == nil && ready {
			state = metrics.StateReady
		} else if err == nil && condition != nil && condition.Reason == spaceapi.ReasonExpired {
			state = metrics.StateExpired // It takes room in its pool as long as its claim is in use.
		}
		out[i] = metrics.Spaces{State: state, Pool: share.Pool}
	}
	return out
}

// afterlife says how a namespace is that is of no living allocation any more. It has
// no state if it is of this one.
func (c *Controller) afterlife(ns *corev1.Namespace, a *identity.Allocation) metrics.Spaces {
	switch {
	case ns.DeletionTimestamp == nil && !c.keptUntil(ns).IsZero():
		return metrics.Spaces{State: metrics.StateRetained}
	case ns.DeletionTimestamp != nil || !a.Owns(ns, c.keys):
		return metrics.Spaces{State: metrics.StateTerminating}
	}
	return metrics.Spaces{}
}

// count says how many spaces there are. A standby says nothing, and neither does who has
// just begun to lead, until all is counted.
func (c *Controller) count() map[metrics.Spaces]int {
	if !c.leads.Load() {
		return nil
	}
	c.counted.mutex.Lock()
	defer c.counted.mutex.Unlock()
	return maps.Clone(c.counted.total)
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

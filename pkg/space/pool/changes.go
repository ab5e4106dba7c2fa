// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

// changing returns the names of the pools that come, go or are different.
func changing(before, after *resourceslice.DriverResources) sets.Set[string] {
	out := sets.New[string]()
	for name, pool := range after.Pools {
		if was, found := before.Pools[name]; !found || !equality.Semantic.DeepEqual(was, pool) {
			out.Insert(name)
		}
	}
	for name := range before.Pools {
		if _, found := after.Pools[name]; !found {
			out.Insert(name)
		}
	}
	return out
}

// selective is a queue for the slice controller. On an update, that adds all pools, and
// for each it checks all pools: where there is one for each node, a node that joins would
// cost as much as the square of the number of nodes.
type selective struct {
	workqueue.TypedRateLimitingInterface[string]
	only atomic.Pointer[sets.Set[string]]
}

func newSelective() *selective {
	return &selective{TypedRateLimitingInterface: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())}
}

// update has nothing added while it updates, but these pools. Whatever else the controller
// looks at again, what failed and what somebody changed, is not added but delayed.
func (q *selective) update(pools sets.Set[string], update func()) {
	q.only.Store(&pools)
	defer q.only.Store(nil)
	update()
}

// Add implements workqueue.TypedInterface.
func (q *selective) Add(pool string) {
	if only := q.only.Load(); only == nil || only.Has(pool) {
		q.TypedRateLimitingInterface.Add(pool)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
)

const (
	// renewers is how many claims have their tokens renewed at the same time.
	renewers = 4
	// A renewal that failed is tried again after the first delay, then after
	// ever longer ones.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// maxFollowDelay is how often a claim is asked for at least while the API
	// server does not answer.
	maxFollowDelay = 30 * time.Second
	// wallInterval is how often the wall clock is looked at.
	wallInterval = time.Minute
)

// keeper keeps the tokens of prepared claims fresh: ahead of their end, and at
// once when the ServiceAccount had to be made again.
type keeper struct {
	driver *Driver
	reader claimReader
	jitter func() float64
	// wall is the node's time of day, which somebody may set.
	wall    func() time.Time
	backOff workqueue.TypedRateLimiter[types.UID]
	queue   workqueue.TypedDelayingInterface[types.UID]

	mutex sync.Mutex
	// ctx is that of run; claims that are kept earlier are followed from then on.
	ctx  context.Context
	kept map[types.UID]*kept
	// known are the allocations of all claims that are not dropped. More than
	// those kept: a claim that was given up stays so until it is prepared again.
	known map[types.UID]string
	// news is closed when the health of a space may have changed.
	news      chan struct{}
	followers sync.WaitGroup
}

// kept is one prepared claim. The keeper's mutex guards what changes.
type kept struct {
	// prepared is the claim as it is. Only the UIDs of ServiceAccounts change.
	prepared preparedClaim
	// stored are the spaces as the store has them.
	stored []preparedSpace
	// expired are the spaces that have outlived what their class allows.
	expired []bool
	// plans say for each space when its token is due.
	plans []plan
	// asked means that the tokens are to be replaced whatever the schedule says.
	asked bool
	seen  *resourceapi.ResourceClaim
	stop  context.CancelFunc
	// trouble is touched only by whoever renews, and that is one at a time.
	trouble trouble
}

// plan is what the keeper means to do about the token of one space.
type plan struct {
	schedule
	// wall is when the token is to be renewed by the time of day.
	wall time.Time
	// failing means that the last try to renew it was in vain, and why says why.
	failing bool
	why     string
}

func newKeeper(d *Driver) *keeper {
	return &keeper{
		driver:  d,
		reader:  claimReader{client: d.Client, clock: d.Clock, maxDelay: maxFollowDelay},
		jitter:  rand.Float64,
		wall:    func() time.Time { return d.Clock.Now().Round(0) },
		backOff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](firstRetry, lastRetry),
		queue: workqueue.NewTypedDelayingQueueWithConfig(
			workqueue.TypedDelayingQueueConfig[types.UID]{Name: component, Clock: d.Clock}),
		kept:  map[types.UID]*kept{},
		known: map[types.UID]string{},
		news:  make(chan struct{}),
	}
}

// run renews until the context ends.
func (k *keeper) run(ctx context.Context) {
	k.mutex.Lock()
	k.ctx = ctx
	for _, c := range k.kept {
		k.follow(c)
	}
	k.mutex.Unlock()

	var workers sync.WaitGroup
	for range renewers {
		workers.Go(func() {
			for k.work(ctx) {
			}
		})
	}
	k.watchTheClock(ctx)
	k.queue.ShutDown()
	workers.Wait()
	// From here on no more followers start.
	k.mutex.Lock()
	k.ctx = nil
	k.mutex.Unlock()
	k.followers.Wait()
}

// watchTheClock finds the claims whose tokens are due by the wall clock, which the
// queue does not go by, until the context ends.
func (k *keeper) watchTheClock(ctx context.Context) {
	ticker := k.driver.Clock.NewTicker(wallInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		k.mutex.Lock()
		for claim, c := range k.kept {
			if len(k.due(c)) > 0 {
				k.queue.Add(claim)
			}
		}
		k.mutex.Unlock()
	}
}

// keep begins to look after a prepared claim, whose tokens are next to be renewed
// as scheduled. It replaces what was known about the claim. seen is the newest
// version of the claim that has been read. Without one, the tokens are renewed as
// soon as the claim was read, and as scheduled if it can't be.
func (k *keeper) keep(p preparedClaim, seen *resourceapi.ResourceClaim, next schedule) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if old := k.kept[p.UID]; old != nil {
		old.stop()
	}
	c := &kept{
		prepared: p, stored: slices.Clone(p.Spaces), expired: make([]bool, len(p.Spaces)),
		plans: make([]plan, len(p.Spaces)), seen: seen, stop: func() {},
	}
	c.prepared.Spaces = slices.Clone(p.Spaces)
	k.kept[p.UID] = c
	k.known[p.UID] = p.AllocationID
	if k.ctx != nil {
		k.follow(c)
	}
	k.backOff.Forget(p.UID)
	for i := range c.plans {
		c.plans[i] = k.planFor(next)
	}
	k.enqueue(c)
	k.tell()
}

// planFor is the plan to renew a token as scheduled.
func (k *keeper) planFor(next schedule) plan {
	return plan{schedule: next, wall: k.wall().Add(next.renew.Sub(k.driver.Clock.Now()))}
}

// enqueue has a claim's tokens looked at again when the first of them is due. The
// caller holds the mutex.
func (k *keeper) enqueue(c *kept) {
	var first time.Time
	for i, p := range c.plans {
		if !c.expired[i] && (first.IsZero() || p.renew.Before(first)) {
			first = p.renew
		}
	}
	// Without one, there is nothing to do until somebody asks.
	if !first.IsZero() {
		k.queue.AddAfter(c.prepared.UID, first.Sub(k.driver.Clock.Now()))
	}
}

// due returns the indexes of the spaces whose tokens are to be replaced now. It asks
// two clocks, and goes by the one that is ahead. The caller holds the mutex.
//
// The monotonic clock, by which times are compared that come from the same process,
// does not care when somebody sets the node's time: tokens are renewed in time
// although that was put back. It stands still while a machine is suspended, though,
// and tokens don't live longer for that; the time of day shows it. When that was
// only set ahead, tokens are renewed once too early, and that is all.
func (k *keeper) due(c *kept) []int {
	var due, failing []int
	for i, p := range c.plans {
		switch {
		case c.expired[i]:
		case c.asked || !k.driver.Clock.Now().Before(p.renew) || !k.wall().Before(p.wall):
			due = append(due, i)
		case p.failing:
			failing = append(failing, i)
		}
	}
	if len(due) == 0 {
		return nil
	}
	// What fails is tried with the others, so that a try without an error means
	// that nothing fails any more.
	return append(due, failing...)
}

// knows returns the claims that were ever to be kept and not dropped since, also
// those that were given up, with their allocation IDs.
func (k *keeper) knows() map[types.UID]string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return maps.Clone(k.known)
}

// follows says whether this allocation of a claim is watched, so that its end will
// be noticed.
func (k *keeper) follows(claim types.UID, allocation string) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	c := k.kept[claim]
	return c != nil && c.prepared.AllocationID == allocation
}

// drop forgets a claim.
func (k *keeper) drop(claim types.UID) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if c := k.kept[claim]; c != nil {
		c.stop()
	}
	delete(k.kept, claim)
	delete(k.known, claim)
	k.backOff.Forget(claim)
	k.tell()
}

// forget stops renewing for a claim, unless it has been prepared anew meanwhile.
func (k *keeper) forget(c *kept) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.kept[c.prepared.UID] == c {
		c.stop()
		delete(k.kept, c.prepared.UID)
		k.backOff.Forget(c.prepared.UID)
		k.tell()
	}
}

// get returns what is kept of a claim, or nil.
func (k *keeper) get(claim types.UID) *kept {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.kept[claim]
}

// spaces returns the spaces of a claim as they are now.
func (k *keeper) spaces(c *kept) []preparedSpace {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return slices.Clone(c.prepared.Spaces)
}

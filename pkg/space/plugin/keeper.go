// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/artifacts"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/record"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
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
)

// keeper keeps the tokens of prepared claims fresh: ahead of their end, and at
// once when the ServiceAccount had to be made again.
type keeper struct {
	driver *Driver
	reader claimReader
	jitter func() float64
	queue  workqueue.TypedRateLimitingInterface[types.UID]

	mutex sync.Mutex
	// ctx is that of run; claims that are kept earlier are followed from then on.
	ctx  context.Context
	kept map[types.UID]*kept
	// known are the allocations of all claims that are not dropped. More than
	// those kept: a claim that was given up stays so until it is prepared again.
	known     map[types.UID]string
	followers sync.WaitGroup
}

// kept is one prepared claim. Its fields other than prepared.Spaces never change.
type kept struct {
	prepared record.Prepared
	seen     *resourceapi.ResourceClaim
	stop     context.CancelFunc
}

func newKeeper(d *Driver) *keeper {
	return &keeper{
		driver: d,
		reader: claimReader{client: d.Client, clock: d.Clock, maxDelay: maxFollowDelay},
		jitter: rand.Float64,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](firstRetry, lastRetry),
			workqueue.TypedRateLimitingQueueConfig[types.UID]{Name: component, Clock: d.Clock}),
		kept:  map[types.UID]*kept{},
		known: map[types.UID]string{},
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
			for k.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	k.queue.ShutDown()
	workers.Wait()
	// From here on no more followers start.
	k.mutex.Lock()
	k.ctx = nil
	k.mutex.Unlock()
	k.followers.Wait()
}

// keep begins to look after a prepared claim, whose tokens are next to be renewed
// at the given time. It replaces what was known about the claim. seen is the
// newest version of the claim that has been read, or nil.
func (k *keeper) keep(p record.Prepared, seen *resourceapi.ResourceClaim, renewAt time.Time) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if old := k.kept[p.UID]; old != nil {
		old.stop()
	}
	c := &kept{prepared: p, seen: seen, stop: func() {}}
	k.kept[p.UID] = c
	k.known[p.UID] = p.AllocationID
	if k.ctx != nil {
		k.follow(c)
	}
	k.queue.Forget(p.UID)
	k.queue.AddAfter(p.UID, renewAt.Sub(k.driver.Clock.Now()))
}

// knows returns the claims that were ever to be kept and not dropped since, also
// those that were given up, with their allocation IDs.
func (k *keeper) knows() map[types.UID]string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return maps.Clone(k.known)
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
	k.queue.Forget(claim)
}

// follow watches the claim in the background. The caller holds the mutex.
func (k *keeper) follow(c *kept) {
	ctx, logger := withClaim(k.ctx, types.NamespacedName{Namespace: c.prepared.Namespace, Name: c.prepared.Name}, c.prepared.UID)
	ctx, c.stop = context.WithCancel(ctx)
	seen := c.seen
	c.seen = nil
	k.followers.Go(func() {
		var err error
		if seen == nil {
			seen, err = k.reader.read(ctx, c.prepared.Namespace, c.prepared.Name)
		}
		if err == nil && seen.UID != c.prepared.UID {
			err = errDeallocated
		}
		if err == nil {
			err = k.reader.follow(ctx, seen, func(claim *resourceapi.ResourceClaim) (bool, error) {
				return false, k.look(c, claim)
			})
		}
		if errors.Is(err, errDeallocated) {
			// The token is dead, or will be in a moment. The files stay until
			// the kubelet has ended the pods.
			logger.Info("Claim deallocated while prepared: its token is no longer renewed")
			k.forget(c)
			return
		}
		if ctx.Err() == nil {
			logger.Error(err, "Claim no longer followed")
		}
	})
}

// look notices what in a claim concerns its tokens.
func (k *keeper) look(c *kept, claim *resourceapi.ResourceClaim) error {
	a := identity.Of(claim, k.driver.Driver)
	if a == nil || a.ID != c.prepared.AllocationID {
		return errDeallocated
	}
	for i, share := range a.Shares {
		// What can't be read, such as data of a newer controller, says nothing
		// about the token; a later version of the claim may.
		_, data, err := status.Read(claim, k.driver.Driver, a, share)
		if err != nil || data == nil || i >= len(c.prepared.Spaces) {
			continue
		}
		k.mutex.Lock()
		replaced := c.prepared.Spaces[i].ServiceAccountUID != data.ServiceAccountUID
		c.prepared.Spaces[i].ServiceAccountUID = data.ServiceAccountUID
		k.mutex.Unlock()
		if replaced {
			k.queue.Forget(c.prepared.UID)
			k.queue.Add(c.prepared.UID)
		}
	}
	return nil
}

// forget stops renewing for a claim, unless it has been prepared anew meanwhile.
func (k *keeper) forget(c *kept) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.kept[c.prepared.UID] == c {
		c.stop()
		delete(k.kept, c.prepared.UID)
		k.queue.Forget(c.prepared.UID)
	}
}

func (k *keeper) next(ctx context.Context) bool {
	claim, shutdown := k.queue.Get()
	if shutdown {
		return false
	}
	defer k.queue.Done(claim)
	c, spaces := k.get(claim)
	if c == nil {
		return true
	}
	ctx, logger := withClaim(ctx, types.NamespacedName{Namespace: c.prepared.Namespace, Name: c.prepared.Name}, claim)
	next, err := k.renew(ctx, c, spaces)
	switch {
	case errors.Is(err, artifacts.ErrGone):
		logger.Info("Artifacts have gone: their tokens are not renewed until the claim is prepared again")
		k.forget(c)
	case err != nil && ctx.Err() == nil:
		logger.Error(err, "Token not renewed, trying again")
		k.queue.AddRateLimited(claim)
	case err == nil:
		logger.V(2).Info("Tokens renewed", "next", next)
		k.queue.Forget(claim)
		k.queue.AddAfter(claim, next.Sub(k.driver.Clock.Now()))
	}
	return true
}

func (k *keeper) get(claim types.UID) (*kept, []record.Space) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	c := k.kept[claim]
	if c == nil {
		return nil, nil
	}
	return c, append([]record.Space(nil), c.prepared.Spaces...)
}

// renew replaces all tokens of a claim and says when to do so again.
func (k *keeper) renew(ctx context.Context, c *kept, spaces []record.Space) (time.Time, error) {
	tokens := make([]token.Token, len(spaces))
	for i, space := range spaces {
		t, err := k.driver.Minter.Mint(ctx, token.Account{Namespace: space.Namespace, Name: space.ServiceAccount, UID: space.ServiceAccountUID})
		if err != nil {
			return time.Time{}, err
		}
		tokens[i] = t
	}
	// Prepare and Unprepare must not be met half-way.
	ctx, unlock, err := k.driver.locks.lock(ctx, c.prepared.UID)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	if now, _ := k.get(c.prepared.UID); now != c {
		klog.FromContext(ctx).V(4).Info("Tokens thrown away: the claim is no longer prepared as it was", logkeys.ClaimUID, c.prepared.UID)
		return firstRenewal(tokens, k.jitter()), nil
	}
	for i, space := range spaces {
		if err := k.driver.Artifacts.WriteToken(c.prepared.UID, space.Slot, tokens[i]); err != nil {
			return time.Time{}, err
		}
	}
	return firstRenewal(tokens, k.jitter()), nil
}

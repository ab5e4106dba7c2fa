// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/artifacts"
	"github.com/space-dra/space-dra-driver/pkg/space/record"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// mintTimeout is how long the API server may take for a claim's tokens. One that
// swallows what it is asked must not hold up the other claims for long.
const mintTimeout = 30 * time.Second

// never is as far away as a schedule goes.
const never = 365 * 24 * time.Hour

// try is one try to renew the tokens of a claim.
type try struct {
	*kept
	// spaces are those that have tokens, as they were when the try began.
	spaces []record.Space
	// last is what was scheduled.
	last schedule
}

// work renews the tokens of the next claim in the queue, and says whether there
// will be another one.
func (k *keeper) work(ctx context.Context) bool {
	claim, shutdown := k.queue.Get()
	if shutdown {
		return false
	}
	defer k.queue.Done(claim)
	r := k.begin(claim)
	if r == nil {
		return true
	}
	ctx, logger := withClaim(ctx, types.NamespacedName{Namespace: r.prepared.Namespace, Name: r.prepared.Name}, claim)
	next, err := k.renew(ctx, r)
	switch {
	case errors.Is(err, artifacts.ErrGone):
		logger.Info("Artifacts have gone: their tokens are not renewed until the claim is prepared again")
		k.forget(r.kept)
	case err == nil:
		logger.V(2).Info("Tokens renewed", "next", next.renew)
		r.trouble = trouble{}
		k.backOff.Forget(claim)
		k.schedule(r.kept, next)
	case errors.Is(err, errInterrupted), k.over(ctx, r):
		logger.V(2).Info("Token not renewed: it is no longer needed", "err", err)
	default:
		delay := r.last.retry(k.driver.Clock.Now(), k.backOff.When(claim))
		logger.Error(err, "Token not renewed, trying again", "in", delay)
		k.driver.report(&r.trouble, r.prepared, err)
		k.schedule(r.kept, schedule{renew: k.driver.Clock.Now().Add(delay), expire: r.last.expire})
	}
	return true
}

// begin returns what is to be done for a claim now, or nil.
func (k *keeper) begin(claim types.UID) *try {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	c := k.kept[claim]
	if c == nil {
		return nil
	}
	if !k.due(c) {
		// The queue still had it from before the last renewal.
		k.queue.AddAfter(claim, c.next.renew.Sub(k.driver.Clock.Now()))
		return nil
	}
	r := &try{kept: c, last: c.next}
	for i, space := range c.prepared.Spaces {
		if !c.expired[i] {
			r.spaces = append(r.spaces, space)
		}
	}
	if len(r.spaces) == 0 {
		// Nothing until somebody asks.
		c.next, c.wall = schedule{renew: k.driver.Clock.Now().Add(never)}, k.wall().Add(never)
		return nil
	}
	c.asked = false
	return r
}

// schedule says when a claim's tokens are due again.
func (k *keeper) schedule(c *kept, next schedule) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.kept[c.prepared.UID] == c {
		k.plan(c, next)
	}
}

// over says whether a renewal failed because the claim or one of its spaces ended
// meanwhile, which is no error.
func (k *keeper) over(ctx context.Context, r *try) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if ctx.Err() != nil || k.kept[r.prepared.UID] != r.kept {
		return true
	}
	left := 0
	for _, expired := range r.expired {
		if !expired {
			left++
		}
	}
	if left < len(r.spaces) {
		// What is left is renewed at once.
		r.asked = true
		k.queue.Add(r.prepared.UID)
		return true
	}
	return false
}

// renew replaces the tokens and says when to do so again.
func (k *keeper) renew(ctx context.Context, r *try) (schedule, error) {
	tokens, err := k.mint(ctx, r.spaces)
	if err != nil {
		return schedule{}, err
	}
	next := scheduleOf(tokens, k.jitter())
	claim := r.prepared.UID
	// Prepare and Unprepare must not be met half-way.
	ctx, unlock, err := k.driver.locks.lock(ctx, claim)
	if err != nil {
		return schedule{}, err
	}
	defer unlock()
	if k.get(claim) != r.kept {
		klog.FromContext(ctx).V(4).Info("Tokens thrown away: the claim is no longer prepared as it was")
		return next, nil
	}
	for i, space := range r.spaces {
		if err := k.driver.Artifacts.WriteToken(claim, space.Slot, tokens[i]); err != nil {
			return schedule{}, err
		}
	}
	k.save(ctx, r)
	return next, nil
}

func (k *keeper) mint(ctx context.Context, spaces []record.Space) ([]token.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, mintTimeout)
	defer cancel()
	var tokens []token.Token
	for _, space := range spaces {
		t, err := k.driver.mintFor(ctx, space)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// save brings the record up to date with the ServiceAccounts that there are now,
// so that a restart does not begin with a renewal that fails. The caller has the
// claim's lock.
func (k *keeper) save(ctx context.Context, r *try) {
	p := r.prepared
	p.Spaces = k.spaces(r.kept)
	if slices.Equal(p.Spaces, r.recorded) {
		return
	}
	if err := k.driver.Records.Save(p); err != nil {
		// The tokens are there. The next renewal tries this again.
		utilruntime.HandleErrorWithContext(ctx, err, "The record of a claim is out of date")
		return
	}
	r.recorded = p.Spaces
}

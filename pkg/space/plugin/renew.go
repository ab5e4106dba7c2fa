// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// mintTimeout is how long the API server may take for a claim's tokens. One that
// swallows what it is asked must not hold up the other claims for long.
const mintTimeout = 30 * time.Second

// try is one try to renew the tokens of a claim.
type try struct {
	*kept
	spaces []*spaceTry
}

// spaceTry is what a try is to do, and has done, for one space. What goes wrong with
// one does not concern the others.
type spaceTry struct {
	// index is that of the space in the claim.
	index int
	// space is as it was when the try began.
	space preparedSpace
	// last is what was scheduled.
	last  schedule
	token token.Token
	err   error
}

// work renews the tokens of the next claim in the queue, and says whether there
// will be another one.
func (k *keeper) work(ctx context.Context) bool {
	claim, shutdown := k.queue.Get()
	if shutdown {
		return false
	}
	defer k.queue.Done(claim)
	if ctx.Err() != nil {
		return true // a queue that is shut down still gives what it had
	}
	r := k.begin(claim)
	if r == nil {
		return true
	}
	ctx, logger := withClaim(ctx, types.NamespacedName{Namespace: r.prepared.Namespace, Name: r.prepared.Name}, claim)
	err := k.renew(ctx, r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		logger.Info("Credentials were removed: tokens are not renewed until the claim is prepared again")
		k.forget(r.kept)
	case err == nil:
		logger.V(2).Info("Tokens renewed")
		k.driver.Metrics.Renewals.WithLabelValues(metrics.Succeeded).Inc()
		r.trouble = trouble{}
		k.backOff.Forget(claim)
		k.schedule(r, 0)
	case errors.Is(err, errInterrupted), k.over(ctx, r):
		logger.V(2).Info("Token not renewed: it is no longer needed", "err", err)
	default:
		delay := r.retry(k.driver.Clock.Now(), k.backOff.When(claim))
		logger.Error(err, "Token not renewed, trying again", "in", delay)
		k.driver.Metrics.Renewals.WithLabelValues(metrics.Failed).Inc()
		k.driver.report(&r.trouble, r.prepared, err)
		k.schedule(r, delay)
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
	due := k.due(c)
	c.asked = false
	if len(due) == 0 {
		// The queue still had it from before the last renewal.
		k.enqueue(c)
		return nil
	}
	r := &try{kept: c}
	for _, i := range due {
		r.spaces = append(r.spaces, &spaceTry{index: i, space: c.prepared.Spaces[i], last: c.plans[i].schedule})
	}
	return r
}

// err returns what went wrong, or nil.
func (r *try) err() error {
	var errs []error
	for _, s := range r.spaces {
		errs = append(errs, s.err)
	}
	return errors.Join(errs...)
}

// retry is when to try again for the spaces that failed.
func (r *try) retry(now time.Time, backOff time.Duration) time.Duration {
	delay := backOff
	for _, s := range r.spaces {
		if s.err != nil {
			delay = min(delay, s.last.retry(now, backOff))
		}
	}
	return delay
}

// schedule says when a claim's tokens are due again: the new ones together, by the
// first of them, and those that could not be renewed after the delay.
func (k *keeper) schedule(r *try, delay time.Duration) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if k.kept[r.prepared.UID] != r.kept {
		return
	}
	var tokens []token.Token
	for _, s := range r.spaces {
		if s.err == nil {
			tokens = append(tokens, s.token)
		}
	}
	renewed := k.planFor(scheduleOf(tokens, k.jitter()))
	again := k.driver.Clock.Now().Add(delay)
	for _, s := range r.spaces {
		if s.err == nil {
			r.plans[s.index] = renewed
			continue
		}
		p := k.planFor(schedule{renew: again, expire: s.last.expire})
		p.failing, p.why = true, s.err.Error()
		r.plans[s.index] = p
	}
	k.enqueue(r.kept)
	k.tell()
}

// over says whether a renewal failed because the claim or one of its spaces ended
// meanwhile, which is no error.
func (k *keeper) over(ctx context.Context, r *try) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if ctx.Err() != nil || k.kept[r.prepared.UID] != r.kept {
		return true
	}
	if slices.ContainsFunc(r.spaces, func(s *spaceTry) bool { return r.expired[s.index] }) {
		// What is left is renewed at once.
		r.asked = true
		k.queue.Add(r.prepared.UID)
		return true
	}
	return false
}

// renew replaces the tokens of as many spaces as it can, and notes for each whether
// it could. The error is what went wrong with the others.
func (k *keeper) renew(ctx context.Context, r *try) error {
	k.mint(ctx, r.spaces)
	if !slices.ContainsFunc(r.spaces, func(s *spaceTry) bool { return s.err == nil }) {
		return r.err()
	}
	claim := r.prepared.UID
	// Prepare and Unprepare must not be met half-way.
	ctx, unlock, err := k.driver.locks.lock(ctx, claim)
	if err != nil {
		for _, s := range r.spaces {
			s.err = errors.Join(s.err, err)
		}
		return err
	}
	defer unlock()
	if k.get(claim) != r.kept {
		klog.FromContext(ctx).V(4).Info("Tokens thrown away: the claim is no longer prepared as it was")
		return r.err()
	}
	for _, s := range r.spaces {
		if s.err == nil {
			s.err = k.driver.store.writeToken(claim, s.space.Dir, s.token)
		}
	}
	if slices.ContainsFunc(r.spaces, func(s *spaceTry) bool { return s.err == nil }) {
		k.save(ctx, r)
	}
	return r.err()
}

// mint gets the tokens side by side: an answer that does not come must not take the
// time of the others.
func (k *keeper) mint(ctx context.Context, spaces []*spaceTry) {
	ctx, cancel := context.WithTimeout(ctx, mintTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range spaces {
		all.Go(func() { s.token, s.err = k.driver.mintFor(ctx, s.space) })
	}
	all.Wait()
}

// save updates the metadata with the ServiceAccounts that there are now, so that a
// restart does not begin with a renewal that fails. The caller has the
// claim's lock.
func (k *keeper) save(ctx context.Context, r *try) {
	p := r.prepared
	p.Spaces = k.spaces(r.kept)
	if slices.Equal(p.Spaces, r.stored) {
		return
	}
	if err := k.driver.store.update(p); err != nil {
		// The tokens are there. The next renewal tries this again.
		utilruntime.HandleErrorWithContext(ctx, err, "Cannot update the metadata of a claim")
		return
	}
	r.stored = p.Spaces
}

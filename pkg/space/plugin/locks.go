// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// errInterrupted is the cause of a context that interrupt has canceled.
var errInterrupted = errors.New("the claim is being unprepared")

// locks has a lock for each claim.
type locks struct {
	mutex  sync.Mutex
	claims map[types.UID]*lock
}

// lock is the lock of a claim. It exists while callers hold it or wait for it.
type lock struct {
	// holder has an element while a caller holds the lock.
	holder chan struct{}
	// users has the functions that cancel the contexts of these callers.
	users map[*context.CancelCauseFunc]struct{}
}

func newLocks() *locks {
	return &locks{claims: map[types.UID]*lock{}}
}

// lock waits for the claim's lock, until ctx is done. interrupt and unlock cancel the returned
// context. The error is [context.Cause] of ctx.
func (l *locks) lock(ctx context.Context, claim types.UID) (_ context.Context, unlock func(), _ error) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.mutex.Lock()
	entry := l.claims[claim]
	if entry == nil {
		entry = &lock{holder: make(chan struct{}, 1), users: map[*context.CancelCauseFunc]struct{}{}}
		l.claims[claim] = entry
	}
	entry.users[&cancel] = struct{}{}
	l.mutex.Unlock()
	leave := func() {
		cancel(nil)
		l.mutex.Lock()
		defer l.mutex.Unlock()
		if delete(entry.users, &cancel); len(entry.users) == 0 {
			delete(l.claims, claim)
		}
	}
	select {
	case entry.holder <- struct{}{}:
		return ctx, func() { <-entry.holder; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, nil, context.Cause(ctx)
	}
}

// interrupt cancels the contexts of all callers that hold the claim's lock or wait for it.
func (l *locks) interrupt(claim types.UID) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if entry := l.claims[claim]; entry != nil {
		for cancel := range entry.users {
			(*cancel)(errInterrupted)
		}
	}
}

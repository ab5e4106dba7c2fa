// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// errInterrupted is the cause of a context that interrupt ended.
var errInterrupted = errors.New("the claim is being unprepared")

// locks lets one call at a time work on a claim, and many claims at the same time.
type locks struct {
	mutex sync.Mutex
	held  map[types.UID]*lock
}

type lock struct {
	// turn holds one element while the lock is free.
	turn chan struct{}
	// users are the holder and those who wait. The functions end their contexts.
	users map[*context.CancelCauseFunc]struct{}
}

func newLocks() *locks {
	return &locks{held: map[types.UID]*lock{}}
}

// lock waits for its turn with the claim. It is over, and so is the returned
// context, when somebody interrupts; the function gives the turn to the next.
func (l *locks) lock(ctx context.Context, claim types.UID) (context.Context, func(), error) {
	l.mutex.Lock()
	entry := l.held[claim]
	if entry == nil {
		entry = &lock{turn: make(chan struct{}, 1), users: map[*context.CancelCauseFunc]struct{}{}}
		entry.turn <- struct{}{}
		l.held[claim] = entry
	}
	ctx, cancel := context.WithCancelCause(ctx)
	entry.users[&cancel] = struct{}{}
	l.mutex.Unlock()

	select {
	case <-entry.turn:
	case <-ctx.Done():
		l.leave(claim, entry, &cancel)
		return nil, nil, context.Cause(ctx)
	}
	return ctx, func() {
		entry.turn <- struct{}{}
		l.leave(claim, entry, &cancel)
	}, nil
}

// tryLock takes the claim's lock if nobody has it or waits for it.
func (l *locks) tryLock(claim types.UID) (func(), bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.held[claim] != nil {
		return nil, false
	}
	// Nobody can interrupt whoever has no context; it must be short.
	cancel := context.CancelCauseFunc(func(error) {})
	entry := &lock{turn: make(chan struct{}, 1), users: map[*context.CancelCauseFunc]struct{}{&cancel: {}}}
	l.held[claim] = entry
	return func() {
		entry.turn <- struct{}{}
		l.leave(claim, entry, &cancel)
	}, true
}

// interrupt ends the contexts of whoever holds the claim's lock or waits for it.
func (l *locks) interrupt(claim types.UID) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if entry := l.held[claim]; entry != nil {
		for cancel := range entry.users {
			(*cancel)(errInterrupted)
		}
	}
}

func (l *locks) leave(claim types.UID, entry *lock, cancel *context.CancelCauseFunc) {
	(*cancel)(nil)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(entry.users, cancel)
	if len(entry.users) == 0 {
		delete(l.held, claim)
	}
}

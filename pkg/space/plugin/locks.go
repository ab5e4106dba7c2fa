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
	// users counts the holder and those who wait.
	users int
	// interrupt ends the holder's context; nil while there is no holder.
	interrupt context.CancelCauseFunc
}

func newLocks() *locks {
	return &locks{held: map[types.UID]*lock{}}
}

// lock waits for its turn with the claim. The returned context ends when somebody
// interrupts; the function gives the turn to the next.
func (l *locks) lock(ctx context.Context, claim types.UID) (context.Context, func(), error) {
	l.mutex.Lock()
	entry := l.held[claim]
	if entry == nil {
		entry = &lock{turn: make(chan struct{}, 1)}
		entry.turn <- struct{}{}
		l.held[claim] = entry
	}
	entry.users++
	l.mutex.Unlock()

	select {
	case <-entry.turn:
	case <-ctx.Done():
		l.leave(claim, entry)
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	l.mutex.Lock()
	entry.interrupt = cancel
	l.mutex.Unlock()
	return ctx, func() {
		l.mutex.Lock()
		entry.interrupt = nil
		l.mutex.Unlock()
		cancel(nil)
		entry.turn <- struct{}{}
		l.leave(claim, entry)
	}, nil
}

// interrupt ends the context of whoever holds the claim's lock, if anybody does.
func (l *locks) interrupt(claim types.UID) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if entry := l.held[claim]; entry != nil && entry.interrupt != nil {
		entry.interrupt(errInterrupted)
	}
}

func (l *locks) leave(claim types.UID, entry *lock) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if entry.users--; entry.users == 0 {
		delete(l.held, claim)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func wantNoLocks(t *testing.T, l *locks) {
	t.Helper()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if len(l.claims) > 0 {
		t.Errorf("%d locks exist without users", len(l.claims))
	}
}

func TestLocks_oneHolderAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocks()
		const callers = 5
		holders, maxHolders, done := 0, 0, 0
		begin := make(chan struct{})
		_, unlock := mustLock(t, l, "a")
		for range callers {
			go func() {
				_, unlock, err := l.lock(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				// The race detector reports this if the lock does not work.
				holders++
				maxHolders = max(maxHolders, holders)
				<-begin
				holders--
				done++
				unlock()
			}()
		}
		synctest.Wait()
		if maxHolders > 0 {
			t.Error("another caller got a lock that is held")
		}
		unlock()
		synctest.Wait()
		close(begin)
		synctest.Wait()
		if maxHolders != 1 || done != callers {
			t.Errorf("%d holders at the same time, %d of %d callers are done", maxHolders, done, callers)
		}
		wantNoLocks(t, l)
	})
}

func TestLocks_claimsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocks()
		_, unlockA := mustLock(t, l, "a")
		_, unlockB := mustLock(t, l, "b") // would be a deadlock, which synctest reports
		unlockA()
		unlockB()
		wantNoLocks(t, l)
	})
}

func TestLocksLock_stopsWaitingWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocks()
		_, unlock := mustLock(t, l, "a")
		cause := errors.New("canceled")
		ctx, cancel := context.WithCancelCause(t.Context())
		waited := make(chan error, 1)
		go func() {
			_, _, err := l.lock(ctx, "a")
			waited <- err
		}()
		synctest.Wait()
		cancel(cause)
		if err := <-waited; !errors.Is(err, cause) {
			t.Errorf("got error %v, want the context's cause", err)
		}
		unlock()
		wantNoLocks(t, l)
		_, unlock = mustLock(t, l, "a") // the canceled caller does not hold it
		unlock()
	})
}

func TestLocksInterrupt_cancelsContextsOfTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocks()
		l.interrupt("a") // has no effect without users
		held, unlock := mustLock(t, l, "a")
		other, unlockOther := mustLock(t, l, "b")
		if err := held.Err(); err != nil {
			t.Fatalf("the context has ended already: %v", err)
		}
		l.interrupt("a")
		if err := context.Cause(held); !errors.Is(err, errInterrupted) {
			t.Errorf("the error of the holder's context is %v, want %v", err, errInterrupted)
		}
		if other.Err() != nil || t.Context().Err() != nil {
			t.Error("other contexts have ended")
		}
		unlock()
		unlockOther()

		next, unlock := mustLock(t, l, "a")
		if next.Err() != nil {
			t.Error("the context of the next holder has ended")
		}
		unlock()
		if next.Err() == nil {
			t.Error("the context has not ended after unlock")
		}
		wantNoLocks(t, l)
	})
}

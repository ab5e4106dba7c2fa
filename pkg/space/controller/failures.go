// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

const (
	// A failure condition makes the scheduler allocate anew, which it does at
	// once and without end. The first is given after a time in which a passing
	// failure passes, each further one for the same claim after twice the time.
	firstFailure = 10 * time.Second
	lastFailure  = 10 * time.Minute
)

// failures counts how often the scheduler was told to give up on a claim's
// allocation. A restart forgets it, which costs a few more tries.
type failures struct {
	mutex sync.Mutex
	given map[types.NamespacedName]*given
}

type given struct {
	allocation string
	since      time.Time
	times      int
	told       bool
}

func newFailures() *failures {
	return &failures{given: map[types.NamespacedName]*given{}}
}

// due says whether the time has come to give up on an allocation that can't be
// satisfied, or else when it does.
func (f *failures) due(a *identity.Allocation, now time.Time) (bool, time.Time) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	g := f.given[a.Claim]
	if g == nil {
		g = &given{}
		f.given[a.Claim] = g
	}
	if g.allocation != a.ID {
		g.allocation, g.since, g.told = a.ID, now, false
	}
	delay := lastFailure
	// Beyond that the shift would overflow, and is more than enough anyway.
	if g.times < 16 {
		delay = min(firstFailure<<g.times, lastFailure)
	}
	if g.told {
		return true, time.Time{}
	}
	if at := g.since.Add(delay); now.Before(at) {
		return false, at
	}
	g.told = true
	g.times++
	return true, time.Time{}
}

// forget is for a claim that has got its space, or has gone.
func (f *failures) forget(claim types.NamespacedName) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	delete(f.given, claim)
}

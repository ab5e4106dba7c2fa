// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"

	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/health"
)

const (
	// taskTimeout is how long one look at a claim or one sweep may take. It takes
	// seconds; this is for an API server that swallows requests, which must not
	// keep a worker for ever.
	taskTimeout = 5 * time.Minute
	// stuckTaskAfter is when a task that should have been over at taskTimeout never
	// will be.
	stuckTaskAfter = 2 * taskTimeout
	// electionTolerance is how long after the end of a lease the leader election may
	// be silent. Kubernetes' own controllers allow as much.
	electionTolerance = 20 * time.Second
)

// vitals say how the process is.
//
// It is ready with the cluster's state read and kept up to date. Nobody sends a
// controller requests, so that this is for whoever replaces and evicts its pods: a
// standby is as ready as the leader, because it can take over at any moment, and a
// new controller that can't read what it needs does not take the place of an old one.
// That ends when what it knows is too old: it would not do any good as a leader.
//
// It is live unless it has come to a halt in itself, which starting again would mend.
// An API server that is away is no reason: every try to reach it ends, and the next
// one comes.
type vitals struct {
	clock clock.PassiveClock
	reads *client.Reads
	// unreadyAfter is for how long the caches may be read in vain.
	unreadyAfter time.Duration
	synced       atomic.Bool
	election     pulse
	tasks        *tasks
}

// health answers for the process.
func (o *Options) health(v *vitals) health.Server {
	return health.Server{
		Address:     o.HTTPAddress,
		Live:        func(context.Context) error { return errors.Join(v.election.stopped(), v.tasks.stuck()) },
		Ready:       func(context.Context) error { return v.stale() },
		HideMetrics: o.SecureMetrics.Enabled(),
	}
}

// stale says why the caches are not what the cluster has, or nil.
func (v *vitals) stale() error {
	if v.synced.Load() {
		return v.reads.Stale(v.unreadyAfter)
	}
	// At the start nothing excuses waiting: what fails is why.
	return errors.Join(errors.New("the cluster's state is not read yet"), v.reads.Stale(0))
}

// pulse is a lock of the leader election that notes when it was last used. The
// loop looks at it every few seconds, leading or not. client-go's HealthzAdaptor
// looks at leaders only: a standby whose loop has come to a halt would never lead.
type pulse struct {
	resourcelock.Interface
	clock clock.PassiveClock
	// silence is how long it may be left alone.
	silence time.Duration
	last    atomic.Pointer[time.Time]
}

// Get implements resourcelock.Interface.
func (p *pulse) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	p.beat()
	defer p.beat()
	return p.Interface.Get(ctx)
}

// Create implements resourcelock.Interface.
func (p *pulse) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	p.beat()
	defer p.beat()
	return p.Interface.Create(ctx, record)
}

// Update implements resourcelock.Interface.
func (p *pulse) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	p.beat()
	defer p.beat()
	return p.Interface.Update(ctx, record)
}

func (p *pulse) beat() {
	now := p.clock.Now()
	p.last.Store(&now)
}

// stopped says that nobody uses the lock any more, or nil. That is so also when the
// lease is lost and the work does not end, with which the process would.
func (p *pulse) stopped() error {
	if last := p.last.Load(); last != nil && p.clock.Since(*last) > p.silence {
		return fmt.Errorf("the leader election has not looked at its Lease for %s", p.clock.Since(*last).Round(time.Second))
	}
	return nil
}

// tasks are what the workers are at.
type tasks struct {
	clock clock.PassiveClock

	mutex sync.Mutex
	last  int
	begun map[int]task
}

type task struct {
	what string
	at   time.Time
}

func newTasks(clock clock.PassiveClock) *tasks {
	return &tasks{clock: clock, begun: map[int]task{}}
}

// begin notes that somebody is at something until the function is called, and
// returns a context that ends when it should be over.
func (t *tasks) begin(ctx context.Context, what string) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, taskTimeout)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.last++
	id := t.last
	t.begun[id] = task{what, t.clock.Now()}
	return ctx, func() {
		cancel()
		t.mutex.Lock()
		defer t.mutex.Unlock()
		delete(t.begun, id)
	}
}

// stuck says what has been begun too long ago, or nil.
func (t *tasks) stuck() error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	var errs []error
	for _, begun := range t.begun {
		if took := t.clock.Since(begun.at); took > stuckTaskAfter {
			errs = append(errs, fmt.Errorf("a worker has been at %s for %s", begun.what, took.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

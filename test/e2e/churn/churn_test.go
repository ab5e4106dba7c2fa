// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package churn lets pods with spaces come and go on a cluster of its own while parts of the
// cluster are killed, and then checks what is left, and what a few pods that stayed have
// seen of it. In a soak, the cluster also changes in other ways meanwhile.
package churn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/space-dra/space-dra-driver/test/e2e/churn/availability"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of this test run; TestMain sets it.
var env *framework.Env

func TestMain(m *testing.M) { framework.Suite{Cluster: "space-churn"}.Run(m, &env) }

const (
	// template is the name of the claims' template, and of the claim in pods.
	template = "my-space"
	// allPods is how many pods, of claimsPerPod claims each, come and go, unless
	// SPACE_SOAK_DURATION is set.
	allPods = 100
	// Clients and standing pods, as many as two cores can bear. A client creates and
	// deletes pods, one at a time. Standing pods use their credentials all the time.
	clients      = 10
	standingPods = 4

	// longestChange is how long a change of a soak may last, and longestWait how long anything may
	// take in a soak while there is no end of faults.
	longestChange = 10 * time.Minute
	longestWait   = 10 * time.Minute
)

// SPACE_TEST_SEED repeats the random choices of an earlier run. It can't repeat how the
// cluster interleaves them. With SPACE_SOAK_DURATION, it is a soak: pods come for that long.
func TestChurn_leavesNothingAndStandingPodsKeepWorking(t *testing.T) {
	var err error
	t.Cleanup(func() {
		if err != nil {
			t.Log(err) // again, after all that the cleanup of the namespace logs
		}
	})
	r := &run{t: t, seed: rand.Uint64(), namespace: env.Namespace(t), faults: map[string]int{}, disturbances: map[string][]time.Time{}}
	if text := os.Getenv("SPACE_TEST_SEED"); text != "" {
		if r.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SPACE_TEST_SEED: %v", err)
		}
	}
	if text := os.Getenv("SPACE_SOAK_DURATION"); text != "" {
		if r.duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SPACE_SOAK_DURATION: %v", err)
		}
	}
	t.Logf("SPACE_TEST_SEED=%d", r.seed)
	if err = r.all(t.Context()); err != nil {
		t.Errorf("with SPACE_TEST_SEED=%d: %v", r.seed, err)
		// A pod that is not scheduled may have no event.
		log, logErr := os.ReadFile(env.Cluster.ControlPlane().LogFile("kube-scheduler"))
		t.Logf("the end of the scheduler's log (error: %v): %s", logErr, log[max(0, len(log)-8000):])
	}
	env.AwaitHealthy(t)
	if r.duration > 0 {
		r.t.Logf("soak of %s with SPACE_TEST_SEED=%d: %d pods with %d claims each, %d of them given up, and %d that stayed; faults: %v; longest time without working credentials while the API server was up: %s",
			r.duration, r.seed, r.started.Load(), claimsPerPod(), r.gaveUp.Load(), len(r.seen), r.faults, r.longest.Round(time.Second))
	}
}

// run is one run. Each of its fields is written by one goroutine, and read when all have
// ended, but for the counts and those with a mutex.
type run struct {
	t         *testing.T
	seed      uint64
	duration  time.Duration
	namespace string
	standing  []standingPod
	// started and gaveUp count pods, the latter those that were deleted because they
	// took long.
	started, gaveUp atomic.Int64
	// disruptions counts the beginnings and ends of faults.
	disruptions atomic.Int64
	outages     []availability.Outage
	// apiServer is locked while the API server is killed or has to stay up.
	apiServer sync.Mutex
	// disturbances are when the credentials of a pod or of a node's pods stopped to work.
	disturbances map[string][]time.Time
	// longest is the longest time without working credentials, but for outages.
	longest time.Duration

	// mutex is for the following.
	mutex sync.Mutex
	// faults counts faults by their names.
	faults map[string]int
	// seen is what pods have seen that were deleted.
	seen []witness

	// The following is for a soak only. flags and values are those of the driver's chart.
	flags  []string
	values map[string]string
	// moving is the pod of the StatefulSet.
	moving standingPod
	// originals is the namespace of the original, whose value is original.
	originals, original string
	// turn counts the standing pods to which something happened.
	turn int
}

func (r *run) all(ctx context.Context) error {
	if r.duration > 0 {
		return r.soak(ctx)
	}
	env.CreateTemplate(r.t, r.namespace, template)
	return r.churnAndCheck(ctx)
}

// churnAndCheck lets pods come and go, and checks what is left, and what standing pods have seen.
func (r *run) churnAndCheck(ctx context.Context) error {
	if err := r.startStanding(ctx); err != nil {
		return err
	}
	churned := r.churn(ctx)
	r.t.Logf("%d pods with %d claims each, %d of them given up; faults: %v", r.started.Load(), claimsPerPod(), r.gaveUp.Load(), r.faults)
	if err := errors.Join(churned, ctx.Err()); err != nil {
		return err
	}
	if r.duration > 0 {
		if err := r.stopMoving(ctx); err != nil {
			return err
		}
	}
	standing := r.untilNothingIsLeft(ctx, r.standing)
	seen := r.checkStanding(ctx)
	return errors.Join(standing, seen, r.stopStanding(ctx), r.untilNothingIsLeft(ctx, nil))
}

// churn runs the clients, and kills things for as long as more pods come.
func (r *run) churn(ctx context.Context) error {
	start := time.Now()
	more := func() bool {
		if r.duration > 0 {
			return time.Since(start) < r.duration
		}
		return r.started.Load() < allPods
	}
	// The first error ends all of them.
	group, ctx := errgroup.WithContext(ctx)
	breaking, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() error {
		return r.breakThings(breaking, r.random(0), r.kills(), patience, shortestPeace, longestPeace)
	})
	if r.duration > 0 {
		group.Go(func() error {
			return r.breakThings(breaking, r.random(clients+1), r.changes(), longestChange, 0, shortestPeace)
		})
		group.Go(func() error {
			rng := r.random(clients + 2)
			for number := 1; breaking.Err() == nil; number++ {
				if err := r.stay(ctx, rng, fmt.Sprintf("staying-%04d", number)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i := range clients {
		rng := r.random(uint64(i) + 1)
		group.Go(func() error {
			defer stop() // the pods that are left have to come to an end
			for ctx.Err() == nil && more() {
				number := r.started.Add(1)
				if number%50 == 0 {
					r.t.Logf("pod %d begins", number)
				}
				if err := r.live(ctx, rng, fmt.Sprintf("pod-%05d", number)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// patiently calls a function that waits for something, and again with all of patience if
// something was killed meanwhile: on a busy machine, the cluster needs its time to recover
// from each kill.
func (r *run) patiently(ctx context.Context, wait func(context.Context) error) error {
	start := time.Now()
	for {
		before := r.disruptions.Load()
		waiting, cancel := context.WithTimeout(ctx, patience)
		err := wait(waiting)
		late := waiting.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil || r.disruptions.Load() == before || time.Since(start) > longestWait {
			return err
		}
	}
}

// random returns a source for one goroutine, so that no goroutine's choices depend on
// another's.
func (r *run) random(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(r.seed, stream))
}

// pause lets time pass, unless the context ends before. It gives the churn its
// pace; nothing is awaited with it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// between is a random time.
func between(rng *rand.Rand, shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(rng.Int64N(int64(longest-shortest)+1))
}

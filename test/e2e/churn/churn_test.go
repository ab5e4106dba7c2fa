// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package churn creates and deletes pods with spaces on its own cluster while components of the
// cluster are killed. It then checks that all spaces were cleaned up, and that the credentials of
// some long-running pods worked. In a soak, the cluster also changes in other ways.
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

// env is the cluster of this test run. TestMain sets it.
var env *framework.Env

func TestMain(m *testing.M) { framework.Suite{Cluster: "space-churn"}.Run(m, &env) }

const (
	// template is the name of the claims' template, and of the claim in pods.
	template = "my-space"
	// podCount is how many pods with claimsPerPod claims are created and deleted, unless
	// SPACE_SOAK_DURATION is set.
	podCount = 100
	// Two cores can run this many clients and long-running pods. A client creates and
	// deletes pods, one at a time. Long-running pods use their credentials all the time.
	clients         = 10
	longRunningPods = 4

	// longestFault is the timeout of a fault: in a soak, a kill may wait for the end of a change.
	// longestWait is that of a step that is started again because faults interrupt it, and of the
	// clean-up after a soak.
	longestFault = 10 * time.Minute
	longestWait  = 10 * time.Minute
)

// SPACE_TEST_SEED repeats the random choices of an earlier run. It cannot repeat how the
// cluster interleaves them. With SPACE_SOAK_DURATION, it is a soak, which creates pods for that time.
func TestChurn_cleansUpAndKeepsCredentialsWorking(t *testing.T) {
	var err error
	t.Cleanup(func() {
		if err != nil {
			t.Log(err) // again, after the log of the cleanup of the namespace
		}
	})
	r := &run{t: t, seed: rand.Uint64(), namespace: env.Namespace(t), faults: map[string]int{}, disruptions: map[string][]time.Time{}}
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
	if err = r.execute(t.Context()); err != nil {
		t.Errorf("with SPACE_TEST_SEED=%d: %v", r.seed, err)
		for _, host := range env.Cluster.Hosts() {
			processes, err := host.Processes()
			t.Logf("processes of %s (error: %v): %v", host.Name(), err, processes)
		}
		// A pod that is not scheduled may have no event.
		log, logErr := os.ReadFile(env.Cluster.ControlPlane().LogFile("kube-scheduler"))
		t.Logf("the end of the scheduler's log (error: %v): %s", logErr, log[max(0, len(log)-8000):])
	}
	if r.duration > 0 {
		t.Logf("soak of %s with SPACE_TEST_SEED=%d: %d pods with %d claims each, %d of them deleted before they were ready, and %d probe pods; faults: %s; longest time without working credentials while the API server was up: %s",
			r.duration, r.seed, r.started.Load(), claimsPerPod(), r.abandoned.Load(), len(r.records), r.countFaults(), r.longest.Round(time.Second))
	}
	env.AwaitHealthy(t)
}

// run is the state of a run. Except for the counters and the fields with a mutex, each field is
// written by one goroutine, and read after all goroutines have ended.
type run struct {
	t           *testing.T
	seed        uint64
	duration    time.Duration
	namespace   string
	longRunning []probePod
	// started counts pods, and abandoned those that were deleted because they were not ready in
	// time.
	started, abandoned atomic.Int64
	// faultTransitions counts the beginnings and ends of faults.
	faultTransitions atomic.Int64
	outages          []availability.Outage
	// apiServer is locked while the API server is killed or must not be killed.
	apiServer sync.Mutex
	// disruptions are the times at which the credentials of a pod, or of the pods of a node, became
	// invalid.
	disruptions map[string][]time.Time
	// longest is the longest time without working credentials, except for outages.
	longest time.Duration

	// mutex protects the following fields.
	mutex sync.Mutex
	// faults counts faults by their names.
	faults map[string]int
	// records are those of all probe pods.
	records []record

	// The following fields are for a soak only. flags and values are those of the driver's chart.
	flags  []string
	values map[string]string
	// statefulPod is the pod of the StatefulSet.
	statefulPod probePod
	// originals is the namespace of the original, whose value is original.
	originals, original string
	// turn counts the changes of long-running pods.
	turn int
}

// execute runs a churn or a soak.
func (r *run) execute(ctx context.Context) error {
	if r.duration > 0 {
		return r.soak(ctx)
	}
	env.CreateTemplate(r.t, r.namespace, template)
	return r.churnAndCheck(ctx)
}

// churnAndCheck runs the churn, and checks that it was cleaned up and that credentials worked.
func (r *run) churnAndCheck(ctx context.Context) error {
	if err := r.startLongRunning(ctx); err != nil {
		return err
	}
	churned := r.churn(ctx)
	r.t.Logf("%d pods with %d claims each, %d of them deleted before they were ready; faults: %s", r.started.Load(), claimsPerPod(), r.abandoned.Load(), r.countFaults())
	if err := errors.Join(churned, ctx.Err()); err != nil {
		return err
	}
	if r.duration > 0 {
		if err := r.deleteStatefulSet(ctx); err != nil {
			return err
		}
	}
	cleanup := r.awaitCleanup(ctx, r.longRunning)
	attempts := r.checkProbes(ctx)
	return errors.Join(cleanup, attempts, r.stopLongRunning(ctx), r.awaitCleanup(ctx, nil))
}

// churn runs the clients, and injects faults until they have created all pods.
func (r *run) churn(ctx context.Context) error {
	start := time.Now()
	more := func() bool {
		if r.duration > 0 {
			return time.Since(start) < r.duration
		}
		return r.started.Load() < podCount
	}
	// The first error ends all of them.
	group, ctx := errgroup.WithContext(ctx)
	faultsCtx, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() error {
		return r.injectFaults(faultsCtx, r.random(0), r.kills(), shortestInterval, longestInterval)
	})
	if r.duration > 0 {
		group.Go(func() error {
			return r.injectFaults(faultsCtx, r.random(clients+1), r.changes(), 0, shortestInterval)
		})
		group.Go(func() error {
			rng := r.random(clients + 2)
			for number := 1; faultsCtx.Err() == nil; number++ {
				if err := r.runProbePod(ctx, rng, fmt.Sprintf("probe-%04d", number)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i := range clients {
		rng := r.random(uint64(i) + 1)
		group.Go(func() error {
			defer stop() // so that the remaining pods can terminate
			for ctx.Err() == nil && more() {
				number := r.started.Add(1)
				if number%50 == 0 {
					r.t.Logf("creating pod %d", number)
				}
				if err := r.runPod(ctx, rng, fmt.Sprintf("pod-%05d", number)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// withRestartedTimeout calls a function that waits for at most stepTimeout. It calls the function again if it
// timed out and a fault began or ended in the meantime: on a busy machine, the cluster needs time to
// recover from each fault.
func (r *run) withRestartedTimeout(ctx context.Context, wait func(context.Context) error) error {
	start := time.Now()
	for {
		before := r.faultTransitions.Load()
		waiting, cancel := context.WithTimeout(ctx, stepTimeout)
		err := wait(waiting)
		late := waiting.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil || r.faultTransitions.Load() == before || time.Since(start) > longestWait {
			return err
		}
	}
}

// countFaults returns how often each fault happened.
func (r *run) countFaults() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return fmt.Sprint(r.faults)
}

// random returns a source for one goroutine, so that no goroutine's choices depend on
// another's.
func (r *run) random(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(r.seed, stream))
}

// pause waits for a time, and returns false if the context ends before. It sets the pace of the
// churn. Tests do not wait for conditions with it.
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

// randomDuration returns a random duration.
func randomDuration(rng *rand.Rand, shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(rng.Int64N(int64(longest-shortest)+1))
}

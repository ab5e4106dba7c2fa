// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever is killed while claims come and go, what is there in the end is what
// the allocations ask for. The API server is everybody's: nothing else may run
// beside this test. As with the test of tokens, what Kubernetes has begun to delete
// is not waited for, and other tests are better run before.
func TestNothingIsLostOrLeftBehindUnderFire(t *testing.T) {
	const driver = "fire.example.com"
	i := install(t, driver)
	i.start(t)
	work := churn{driver: driver, namespace: env.Namespace(t), seed: seed(t), clients: 6, claims: 300, steps: 3}
	done := make(chan error, 1)
	go func() { done <- work.run(t.Context()) }()

	// On a slow machine each shot takes longer. So that the work has an end, there is
	// as much time without shots, and there are only so many.
	const most = 25
	shots, fired, took := map[string]int{}, 0, time.Duration(0)
	random := rand.New(rand.NewPCG(work.seed, 1<<32))
	for working := true; working; {
		pause := took + time.Duration(500+random.IntN(2500))*time.Millisecond
		if fired == most {
			pause = time.Hour
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			working = false
		case <-time.After(pause):
			fired++
			began := time.Now()
			shots[i.shoot(t, random, fired == 5)]++
			took = time.Since(began)
		}
	}
	t.Logf("killed: %v", shots)
	awaitExact(t, driver)
	if err := work.deallocateAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitExact(t, driver)
}

// shoot kills something that is chosen at random, and has it run again.
func (i *installation) shoot(t *testing.T, random *rand.Rand, etcd bool) string {
	t.Helper()
	dice := random.IntN(10)
	switch {
	case etcd:
		i.outage(t, "etcd", false)
		return "etcd"
	case dice < 6:
		i.kill(t)
		i.start(t)
		return "controller"
	case dice < 8:
		i.outage(t, "kube-apiserver", false)
		return "API server"
	default:
		i.outage(t, "kube-apiserver", true)
		return "API server and controller"
	}
}

// outage kills a process of the control plane and starts it again, and meanwhile
// the controller where that is wanted.
func (i *installation) outage(t *testing.T, process string, controller bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	host := env.Cluster.ControlPlane()
	if err := host.Kill(ctx, process); err != nil {
		t.Fatal(err)
	}
	// Also when the test ends here: other tests need it.
	defer func() {
		if err := host.Start(context.WithoutCancel(ctx), process); err != nil {
			t.Error(err)
		}
	}()
	if controller {
		i.kill(t)
		i.start(t)
	}
}

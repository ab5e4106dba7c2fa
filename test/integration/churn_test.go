// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// seedVariable repeats the random choices of a run, but not the order of concurrent steps.
const seedVariable = "SPACE_TEST_SEED"

// seed returns the seed of the variable, or a new one.
func seed(t *testing.T) uint64 {
	t.Helper()
	chosen := uint64(time.Now().UnixNano())
	if given := os.Getenv(seedVariable); given != "" {
		var err error
		if chosen, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d repeats these choices", seedVariable, chosen)
	return chosen
}

// churn changes claims as users, the scheduler and kube-controller-manager do.
type churn struct {
	driver    string
	namespace string
	seed      uint64
	// Each client has its own claims, and takes steps with each of them.
	clients, claims, steps int
	// taken, if it is not nil, receives a value for each step.
	taken chan<- struct{}
}

func claimName(i int) string { return fmt.Sprintf("claim-%03d", i) }

// run takes all steps. It retries each one until it succeeds.
func (c churn) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for client := range c.clients {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(c.seed, uint64(client)))
			for step := range c.steps {
				for i := client; i < c.claims; i += c.clients {
					// The first step allocates each claim.
					dice := 99
					if step > 0 {
						dice = random.IntN(100)
					}
					if err := c.step(ctx, claimName(i), dice); err != nil {
						return err
					}
					if c.taken != nil {
						select {
						case c.taken <- struct{}{}:
						case <-ctx.Done():
							return ctx.Err()
						}
					}
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// step changes a claim depending on dice, from 0 to 99. Each attempt reads the claim first, because
// the response to a write may have been lost.
func (c churn) step(ctx context.Context, name string, dice int) error {
	return retryUntilSuccess(ctx, func(ctx context.Context) error {
		api := env.Client.ResourceV1().ResourceClaims(c.namespace)
		claim, err := api.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			claim, err = api.Create(ctx, framework.NewClaim(name), metav1.CreateOptions{})
			dice = 99
		}
		if err != nil || claim.DeletionTimestamp != nil { // kube-controller-manager deallocates it
			return err
		}
		switch allocated := claim.Status.Allocation != nil; {
		case !allocated && dice < 20, allocated && dice >= 60 && dice < 75:
			return api.Delete(ctx, name, metav1.DeleteOptions{})
		case !allocated:
			return c.allocate(ctx, claim)
		case dice < 60:
			claim.Status.Allocation = nil
			if claim, err = api.UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil || dice < 40 {
				return err
			}
			return c.allocate(ctx, claim)
		default:
			return nil
		}
	})
}

func (c churn) allocate(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	api := env.Client.ResourceV1().ResourceClaims(c.namespace)
	if !slices.Contains(claim.Finalizers, resourceapi.Finalizer) {
		claim.Finalizers = []string{resourceapi.Finalizer}
		var err error
		if claim, err = api.Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	env.SetAllocation(claim)
	ofDriver(c.driver)(claim)
	_, err := api.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}

// deallocateAll deallocates the claims in a namespace, and waits until Kubernetes has deleted all
// spaces: later tests would wait for their deletion.
func deallocateAll(t *testing.T, driver, namespace string) {
	t.Helper()
	claims, err := env.Client.ResourceV1().ResourceClaims(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, claim := range claims.Items {
		// kube-controller-manager deallocates those that are being deleted.
		if claim.DeletionTimestamp == nil {
			deallocate(t, env, namespace, claim.Name)
		}
	}
	awaitNoNamespaces(t, driver)
}

// retryUntilSuccess retries until an attempt succeeds. Each attempt has a timeout.
func retryUntilSuccess(ctx context.Context, try func(ctx context.Context) error) error {
	var last error
	if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, framework.Timeout, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		last = try(ctx)
		return last == nil, nil
	}); err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

func TestControllers_convergeIfTwoRun(t *testing.T) {
	const driver = "two-controllers.example.com"
	work := churn{driver: driver, namespace: env.Namespace(t), seed: seed(t), clients: 6, claims: 60, steps: 3}
	for range 2 {
		install(t, driver).start(t)
	}
	if err := work.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitConsistent(t, driver)
	deallocateAll(t, driver, work.namespace)
}

// TestController_convergesAfterKills kills the controller, the API server and etcd while claims
// change. It is not parallel, because all tests share the API server.
func TestController_convergesAfterKills(t *testing.T) {
	const driver, stepsBetweenKills = "kills.example.com", 20
	i := install(t, driver)
	i.start(t)
	// The buffer allows the steps until the next kill, but no more.
	taken, done := make(chan struct{}, stepsBetweenKills), make(chan error, 1)
	work := churn{driver: driver, namespace: env.Namespace(t), seed: seed(t), clients: 6, claims: 80, steps: 3, taken: taken}
	go func() {
		defer close(taken)
		done <- work.run(t.Context())
	}()

	random := rand.New(rand.NewPCG(work.seed, 1<<32))
	kills, steps := map[string]int{}, 0
	for range taken {
		if steps++; steps%stepsBetweenKills == 0 {
			kills[i.killRandom(t, random, steps == 3*stepsBetweenKills)]++
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("killed in %d steps: %v", steps, kills)
	awaitConsistent(t, driver)
	deallocateAll(t, driver, work.namespace)
}

// killRandom kills and restarts etcd, or a random choice of the controller, the API server or both.
func (i *installation) killRandom(t *testing.T, random *rand.Rand, etcd bool) string {
	t.Helper()
	dice, process := random.IntN(10), "kube-apiserver"
	if etcd {
		dice, process = 6, "etcd"
	}
	if dice >= 6 {
		ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
		defer cancel()
		host := env.Cluster.ControlPlane()
		if err := host.Kill(ctx, process); err != nil {
			t.Fatal(err)
		}
		// Other tests need the process, also if this one fails.
		defer func() {
			if err := host.Start(context.WithoutCancel(ctx), process); err != nil {
				t.Error(err)
			}
		}()
		if dice < 8 {
			return process
		}
	}
	i.kill(t)
	i.start(t)
	if dice < 6 {
		return "controller"
	}
	return process + " and controller"
}

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

// seedVariable repeats a run's choices. What the machine makes of them is never
// quite the same.
const seedVariable = "SPACE_TEST_SEED"

// seed is another one in each run, unless the variable gives one.
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

// churn plays users, scheduler and kube-controller-manager, all of them in a hurry.
type churn struct {
	driver    string
	namespace string
	seed      uint64
	// Each client has claims of its own, and takes steps with each of them.
	clients, claims, steps int
}

func claimName(i int) string { return fmt.Sprintf("claim-%03d", i) }

// run does it all, and returns when each step has been taken, however often the
// API server was away.
func (c churn) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for client := range c.clients {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(c.seed, uint64(client)))
			for step := range c.steps {
				for i := client; i < c.claims; i += c.clients {
					// All of them exist for a while.
					dice := 99
					if step > 0 {
						dice = random.IntN(100)
					}
					if err := c.step(ctx, claimName(i), dice); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// step does with a claim what the dice say, from 0 to 99. As the answer to a write
// may have been lost, each try looks at the claim first.
func (c churn) step(ctx context.Context, name string, dice int) error {
	return persist(ctx, func(ctx context.Context) error {
		api := env.Client.ResourceV1().ResourceClaims(c.namespace)
		claim, err := api.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			if claim, err = api.Create(ctx, framework.NewClaim(name), metav1.CreateOptions{}); err != nil {
				return err
			}
			return c.allocate(ctx, claim)
		case err != nil:
			return err
		case claim.DeletionTimestamp != nil:
			// kube-controller-manager deallocates it, in its own time.
			return nil
		case claim.Status.Allocation == nil && dice < 20:
			return api.Delete(ctx, name, metav1.DeleteOptions{})
		case claim.Status.Allocation == nil:
			return c.allocate(ctx, claim)
		case dice < 40:
			_, err := c.deallocate(ctx, claim)
			return err
		case dice < 60:
			if claim, err = c.deallocate(ctx, claim); err != nil {
				return err
			}
			return c.allocate(ctx, claim)
		case dice < 75:
			return api.Delete(ctx, name, metav1.DeleteOptions{})
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
	allocationFor(c.driver)(claim)
	_, err := api.UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}

func (c churn) deallocate(ctx context.Context, claim *resourceapi.ResourceClaim) (*resourceapi.ResourceClaim, error) {
	claim.Status.Allocation = nil
	return env.Client.ResourceV1().ResourceClaims(c.namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
}

// deallocateAll ends the life of all claims' allocations.
func (c churn) deallocateAll(ctx context.Context) error {
	for i := range c.claims {
		if err := persist(ctx, func(ctx context.Context) error {
			claim, err := env.Client.ResourceV1().ResourceClaims(c.namespace).Get(ctx, claimName(i), metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			if err != nil || claim.Status.Allocation == nil {
				return err
			}
			_, err = c.deallocate(ctx, claim)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// persist tries until it succeeds. A try that hangs counts as failed.
func persist(ctx context.Context, try func(ctx context.Context) error) error {
	var last error
	if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		last = try(ctx)
		return last == nil, nil
	}); err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

func TestTwoControllersAtOnceDoNoHarm(t *testing.T) {
	const driver = "twins.example.com"
	work := churn{driver: driver, namespace: env.Namespace(t), seed: seed(t), clients: 6, claims: 60, steps: 3}
	for range 2 {
		install(t, driver).start(t)
	}
	if err := work.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitExact(t, driver)
	if err := work.deallocateAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitNothing(t, driver)
}

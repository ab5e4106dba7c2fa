// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// claims creates claims and allocates them as the scheduler does.
type claims struct {
	env *framework.Env
	// driver is the driver of the allocated devices.
	driver string
	// node is the node of one pod for each claim. If empty, no pods use the claims.
	node string
}

// create creates and allocates claims, and calls allocated for each.
func (c claims) create(ctx context.Context, prefix string, n int, allocated func(*resourceapi.ResourceClaim)) error {
	api, pods := c.env.Client.ResourceV1().ResourceClaims(metav1.NamespaceDefault), c.env.Client.CoreV1().Pods(metav1.NamespaceDefault)
	return eachUntil(ctx, n, parallel, func(ctx context.Context, i int) error {
		claim := framework.NewClaim(fmt.Sprintf("%s-%d", prefix, i))
		claim.Finalizers = []string{resourceapi.Finalizer}
		claim, err := api.Create(ctx, claim, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create a claim: %w", err)
		}
		c.env.SetAllocation(claim)
		claim.Status.Allocation.Devices.Results[0].Driver = c.driver
		if c.node != "" {
			pod := framework.NewPod(claim.Name, claim.Name)
			pod.Spec.NodeName = c.node
			if pod, err = pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("create a pod with a claim: %w", err)
			}
			claim.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: pod.Name, UID: pod.UID}}
		}
		if claim, err = api.UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("allocate claim %s: %w", claim.Name, err)
		}
		allocated(claim)
		return nil
	})
}

// ready creates n claims and returns after how many seconds each was Ready, with the claims.
func (c claims) ready(b *testing.B, prefix string, n int, allocated func(*resourceapi.ResourceClaim)) ([]float64, []*resourceapi.ResourceClaim) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	follow := follow(ctx, b, c.env.Client.ResourceV1().RESTClient(), "resourceclaims", metav1.NamespaceDefault, fields.Everything())
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.create(ctx, prefix, n, allocated) })
	seen := map[string]*resourceapi.ResourceClaim{}
	var seconds []float64
	group.Go(func() error {
		err := follow(ctx, func(event watch.Event) bool {
			claim, ok := event.Object.(*resourceapi.ResourceClaim)
			if ok && seen[claim.Name] == nil && strings.HasPrefix(claim.Name, prefix+"-") && framework.SpacesReadyNow(claim) {
				seen[claim.Name] = claim
				seconds = append(seconds, time.Since(begin).Seconds())
			}
			return len(seen) == n
		})
		if err != nil {
			return fmt.Errorf("wait for claims, of which %d of %d are Ready: %w", len(seen), n, err)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return seconds, slices.Collect(maps.Values(seen))
}

// ignored does nothing when a claim is allocated.
func ignored(*resourceapi.ResourceClaim) {}

// follow watches objects of a resource from now on. It returns a function that reads events
// until see returns true. A busy API server may close a watch, which then resumes.
func follow(ctx context.Context, b *testing.B, api rest.Interface, resource, namespace string, which fields.Selector) func(ctx context.Context, see func(watch.Event) bool) error {
	b.Helper()
	source := cache.NewListWatchFromClient(api, resource, namespace, which)
	list, err := source.ListWithContext(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		b.Fatalf("list %s: %v", resource, err)
	}
	now, err := meta.ListAccessor(list)
	if err != nil {
		b.Fatal(err)
	}
	w, err := watchtools.NewRetryWatcherWithContext(ctx, now.GetResourceVersion(), source)
	if err != nil {
		b.Fatalf("watch %s: %v", resource, err)
	}
	return func(ctx context.Context, see func(watch.Event) bool) error {
		defer w.Stop()
		for {
			select {
			case event, open := <-w.ResultChan():
				if !open {
					return errors.New("the watch was closed")
				}
				if see(event) {
					return nil
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

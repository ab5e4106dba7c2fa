// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// patience is how long one round may take.
const patience = 5 * time.Minute

// claims creates claims and allocates them as the scheduler does.
type claims struct {
	client   kubernetes.Interface
	parallel int
	// driver is the driver of the allocated devices.
	driver string
}

// make creates and allocates claims, and calls allocated for each.
func (c claims) make(ctx context.Context, prefix string, n int, allocated func(*resourceapi.ResourceClaim)) error {
	api := c.client.ResourceV1().ResourceClaims(metav1.NamespaceDefault)
	return each(ctx, n, c.parallel, func(ctx context.Context, i int) error {
		claim := framework.NewClaim(fmt.Sprintf("%s-%d", prefix, i))
		claim.Finalizers = []string{resourceapi.Finalizer}
		claim, err := api.Create(ctx, claim, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create a claim: %w", err)
		}
		framework.SetAllocation(claim)
		for i := range claim.Status.Allocation.Devices.Results {
			claim.Status.Allocation.Devices.Results[i].Driver = c.driver
		}
		if claim, err = api.UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("allocate a claim: %w", err)
		}
		allocated(claim)
		return nil
	})
}

// ready creates n claims and returns after how many seconds each was Ready, with the claims.
// No more claims are created when it has returned.
func (c claims) ready(ctx context.Context, prefix string, n int, allocated func(*resourceapi.ResourceClaim)) ([]float64, []*resourceapi.ResourceClaim, error) {
	api := c.client.ResourceV1().ResourceClaims(metav1.NamespaceDefault)
	var making sync.WaitGroup
	defer making.Wait()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := follow(ctx, api.List, api.Watch, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("watch claims: %w", err)
	}
	defer w.Stop()
	start := time.Now()
	made := make(chan error, 1)
	making.Go(func() { made <- c.make(ctx, prefix, n, allocated) })
	seen := map[string]*resourceapi.ResourceClaim{}
	var seconds []float64
	for len(seen) < n {
		select {
		case err := <-made:
			if err != nil {
				return nil, nil, err
			}
			made = nil
		case event, open := <-w.ResultChan():
			if !open {
				return nil, nil, fmt.Errorf("%d of %d claims were Ready when the watch ended", len(seen), n)
			}
			claim, ok := event.Object.(*resourceapi.ResourceClaim)
			if !ok || seen[claim.Name] != nil || !hasPrefix(claim.Name, prefix) || !framework.SpacesReadyNow(claim) {
				continue
			}
			seen[claim.Name] = claim
			seconds = append(seconds, time.Since(start).Seconds())
		}
	}
	return seconds, slices.Collect(maps.Values(seen)), nil
}

// follow watches changes from now on. A busy API server may close a watch, which then
// resumes.
func follow[L metav1.ListMetaAccessor](ctx context.Context, list func(context.Context, metav1.ListOptions) (L, error),
	begin func(context.Context, metav1.ListOptions) (watch.Interface, error), which metav1.ListOptions) (watch.Interface, error) {
	first := which
	first.Limit = 1
	now, err := list(ctx, first)
	if err != nil {
		return nil, err
	}
	return watchtools.NewRetryWatcherWithContext(ctx, now.GetListMeta().GetResourceVersion(), &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector, options.FieldSelector = which.LabelSelector, which.FieldSelector
			return begin(ctx, options)
		},
	})
}

func hasPrefix(name, prefix string) bool { return strings.HasPrefix(name, prefix+"-") }

// each calls f for 0 to n-1, so many at the same time.
func each(ctx context.Context, n, parallel int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

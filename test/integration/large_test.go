// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// maxPeak is how much memory the controller may take at most, in bytes. The chart's limit
// is 512 MiB. The objects of this test have nearly as much in them.
const maxPeak = 200 << 20

// TestLargeObjects_doNotFillMemory has the largest claims, and ServiceAccounts in spaces, that users
// can create.
func TestLargeObjects_doNotFillMemory(t *testing.T) {
	const driver, all, allocated = "large.example.com", 300, 10
	ns := env.Namespace(t)
	start := time.Now()
	inParallel(t, all, func(ctx context.Context, n int) error {
		room := 0
		if n < allocated {
			// The allocation repeats the configs of the claim.
			room = resourceapi.DeviceConfigMaxSize * (framework.LargestConfig + 200)
		}
		_, err := env.Client.ResourceV1().ResourceClaims(ns).Create(ctx, framework.LargestClaim(claimName(n), room), metav1.CreateOptions{})
		return err
	})
	t.Logf("created %d claims in %s", all, time.Since(start).Round(time.Second))
	for n := range allocated {
		allocateTo(t, driver, ns, claimName(n), func(claim *resourceapi.ResourceClaim) {
			// The other requests are for another driver.
			claim.Status.Allocation.Devices.Results = claim.Status.Allocation.Devices.Results[:1]
		})
	}
	i := install(t, driver)
	i.start(t)
	var spaces []string
	var requests []framework.Request
	for n := range allocated {
		spaces = append(spaces, readySpace(t, ns, claimName(n)))
		requests = append(requests, newRequest(t, spaces[n]))
	}
	setFinalizers := func(finalizers ...string) {
		t.Helper()
		for _, space := range spaces {
			framework.SetFinalizers(t, env.Client.CoreV1().RESTClient(), "serviceaccounts", space, spaceapi.ServiceAccountName, finalizers...)
		}
	}
	setFinalizers(manyFinalizers()...)
	for n := range allocated {
		deallocate(t, env, ns, claimName(n))
	}
	for _, request := range requests {
		awaitRevoked(t, request)
	}
	setFinalizers()
	awaitNoNamespaces(t, driver)
	peak, err := i.controller.PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("with %d claims, the controller used %d MiB", all, peak>>20)
	if peak > maxPeak {
		t.Errorf("the controller used %d MiB at its peak, want at most %d", peak>>20, maxPeak>>20)
	}
}

// manyFinalizers returns 0.7 MiB of finalizers. The managed fields of the object repeat them, which
// doubles its size.
func manyFinalizers() []string {
	label := strings.Repeat("f", 60)
	var out []string
	for n := range 3500 {
		out = append(out, fmt.Sprintf("%s.%s.%s.example.com/%d", label, label, label, n))
	}
	return out
}

// inParallel calls do with 0 to n-1, four at a time.
func inParallel(t *testing.T, n int, do func(ctx context.Context, n int) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

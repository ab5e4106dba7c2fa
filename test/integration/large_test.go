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
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// maxPeak is the most memory that the controller may use, in bytes. The chart's limit is 512 MiB.
	// The objects of this test are nearly as large in total.
	maxPeak = 200 << 20
	// maxObject is the largest object that etcd stores, in bytes of protobuf: its limit for requests,
	// 1.5 MiB, minus the rest of a request.
	maxObject = 1536<<10 - 2<<10
)

// largestClaim returns a claim of the largest size, minus a number of bytes.
func largestClaim(name string, room int) *resourceapi.ResourceClaim {
	claim := framework.NewClaim(name)
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, "example.com/note", strings.Repeat("n", 255<<10))
	for range resourceapi.DeviceConfigMaxSize {
		config := resourceapi.DeviceClaimConfiguration{}
		config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: "other.example.com", Parameters: runtime.RawExtension{
			Raw: fmt.Appendf(nil, `{"large":%q}`, strings.Repeat("x", largestConfig)),
		}}
		claim.Spec.Devices.Config = append(claim.Spec.Devices.Config, config)
	}
	// The API server compiles the expressions. Comments take no time.
	const comment = "true // "
	for n := 0; ; n++ {
		left := maxObject - room - claim.Size() - 64
		if left <= len(comment) {
			return claim
		}
		if n%resourceapi.DeviceSelectorsMaxSize == 0 {
			request := claim.Spec.Devices.Requests[0].DeepCopy()
			request.Name = fmt.Sprintf("others-%d", n)
			request.Exactly.Selectors = nil
			claim.Spec.Devices.Requests = append(claim.Spec.Devices.Requests, *request)
		}
		last := claim.Spec.Devices.Requests[len(claim.Spec.Devices.Requests)-1].Exactly
		last.DeviceClassName = "other.example.com"
		last.Selectors = append(last.Selectors, resourceapi.DeviceSelector{CEL: &resourceapi.CELDeviceSelector{
			Expression: comment + strings.Repeat("c", min(left, resourceapi.CELSelectorExpressionMaxLength)-len(comment)),
		}})
	}
}

// largestConfig is the length of a string in opaque parameters of the largest size.
const largestConfig = 10<<10 - 16

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
			room = resourceapi.DeviceConfigMaxSize * (largestConfig + 200)
		}
		_, err := env.Client.ResourceV1().ResourceClaims(ns).Create(ctx, largestClaim(claimName(n), room), metav1.CreateOptions{})
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

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// maxPeak is how much memory the controller may take at most, in bytes. It would take more
// if it kept the claims of this test.
const maxPeak = 200 << 20

// largeClaim is a claim of half a MiB: as large as annotations and parameters can make it.
func largeClaim(name string) *resourceapi.ResourceClaim {
	claim := framework.NewClaim(name)
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, "example.com/note", strings.Repeat("n", 200<<10))
	for range 32 {
		config := resourceapi.DeviceClaimConfiguration{}
		config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: "other.example.com", Parameters: runtime.RawExtension{
			Raw: fmt.Appendf(nil, `{"large":%q}`, strings.Repeat("x", 9<<10)),
		}}
		claim.Spec.Devices.Config = append(claim.Spec.Devices.Config, config)
	}
	return claim
}

// Claims are as large as their authors make them.
func TestLargeClaims_doNotFillTheControllersMemory(t *testing.T) {
	const driver, all, allocated = "large.example.com", 300, 10
	ns := env.Namespace(t)
	var group errgroup.Group
	group.SetLimit(4)
	for i := range all {
		group.Go(func() error {
			_, err := env.Client.ResourceV1().ResourceClaims(ns).Create(t.Context(), largeClaim(claimName(i)), metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range allocated {
		allocateTo(t, driver, ns, claimName(i))
	}
	i := install(t, driver)
	i.start(t)
	for n := range allocated {
		framework.Await(t, framework.Claim(env.Client, ns, claimName(n)), framework.SpacesReady(1))
	}
	for n := range allocated {
		deallocate(t, env, ns, claimName(n))
	}
	awaitNothing(t, driver)
	peak, err := i.controller.PeakMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("with %d claims of half a MiB, the controller took %d MiB", all, peak>>20)
	if peak > maxPeak {
		t.Errorf("the controller took %d MiB at its peak, want at most %d", peak>>20, maxPeak>>20)
	}
}

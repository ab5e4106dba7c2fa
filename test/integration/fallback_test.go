// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// oldControlPlane is a control plane for one test, without the features named.
func oldControlPlane(t *testing.T, name string, gates map[string]bool) *framework.Env {
	t.Helper()
	c, err := framework.CreateControlPlane(t.Context(), name, gates)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), framework.Patience)
		defer cancel()
		if err := c.Delete(ctx); err != nil {
			t.Error(err)
		}
	})
	old, err := framework.NewEnv(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.PrepareForController(t.Context()); err != nil {
		t.Fatal(err)
	}
	return old
}

// Before Kubernetes 1.36 the API server drops what makes a device shareable.
func TestWithoutShareableDevicesTheControllerPublishesExclusiveOnes(t *testing.T) {
	t.Parallel()
	old := oldControlPlane(t, "space-fallback", map[string]bool{"DRAConsumableCapacity": false, "DRAFractionalCapacityRange": false})
	controller := startController(t, old, "--exclusive-device-count=3")

	framework.AwaitAny(t, old.Client.ResourceV1().RESTClient(), "resourceslices", "", framework.That("a slice with the devices space-0, space-1 and space-2", func(s *resourceapi.ResourceSlice) bool {
		var names []string
		for _, d := range s.Spec.Devices {
			names = append(names, d.Name)
		}
		return strings.Join(names, " ") == "space-0 space-1 space-2"
	}))
	framework.AwaitSaid(t, controller.Log, "publishing exclusive devices instead", 1)

	ns := old.Namespace(t)
	old.CreateClaim(t, ns, framework.NewClaim("claim"))
	setDevice := func(device string) {
		modify(t, old, ns, "claim", func(claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{
				Results: []resourceapi.DeviceRequestAllocationResult{{Request: "space", Driver: spaceapi.DefaultDriverName, Pool: "spaces", Device: device}},
			}}
		})
	}
	setDevice("space-0")
	_, first := spacesOf(t, old, ns, "claim", 1)
	deallocate(t, old, ns, "claim")
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(old.Client, first[0].Namespace))
	setDevice("space-1")
	_, second := spacesOf(t, old, ns, "claim", 1)
	if first[0].Namespace == second[0].Namespace {
		t.Errorf("another device has namespace %s again", first[0].Namespace)
	}
	deallocate(t, old, ns, "claim")
}

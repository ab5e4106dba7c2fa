// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation_test

import (
	"testing"

	resourceapi "k8s.io/api/resource/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

func TestTheClassIsTheOneThatTheRequestNames(t *testing.T) {
	claim := &resourceapi.ResourceClaim{
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{
			{Name: "one", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "exact"}},
			{Name: "list", FirstAvailable: []resourceapi.DeviceSubRequest{{Name: "a", DeviceClassName: "first"}, {Name: "b", DeviceClassName: "second"}}},
		}}},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{}},
	}
	for _, request := range []string{"one", "list/b", "list", "absent"} {
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results,
			resourceapi.DeviceRequestAllocationResult{Driver: "d", Request: request})
	}
	want := []string{"exact", "second", "", ""}
	for i, result := range allocation.FromClaim(claim, "d").Results {
		if result.Class != want[i] {
			t.Errorf("request %s is of class %q, want %q", result.Request, result.Class, want[i])
		}
	}
}

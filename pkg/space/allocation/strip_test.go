// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation_test

import (
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

// Each result has 16 tolerations, the maximum in Kubernetes. The scheduler copies them from the claim.
func TestStrip_removesWhatUsersWrite(t *testing.T) {
	long := strings.Repeat("x", 300)
	opaque := &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(long)}}
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "claim", UID: "uid", ResourceVersion: "7", Finalizers: []string{resourceapi.Finalizer, "example.com/" + long},
			Labels: map[string]string{long: ""}, Annotations: map[string]string{long: long}, OwnerReferences: []metav1.OwnerReference{{Name: long}},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: long}},
		},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{}, Devices: []resourceapi.AllocatedDeviceStatus{{Driver: "other.example.com", Device: long}}},
	}
	devices := &claim.Status.Allocation.Devices
	for i := range 32 {
		result := resourceapi.DeviceRequestAllocationResult{Driver: driver, Request: fmt.Sprintf("r%d", i), Pool: "pool", Device: "device"}
		for range 16 {
			result.Tolerations = append(result.Tolerations, resourceapi.DeviceToleration{Key: long, Value: long})
		}
		devices.Results = append(devices.Results, result)
		devices.Config = append(devices.Config, resourceapi.DeviceAllocationConfiguration{DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: opaque}})
	}
	devices.Results = append(devices.Results, resourceapi.DeviceRequestAllocationResult{Driver: "other.example.com", Request: "other", Device: long})
	want := allocation.FromClaim(claim, driver).ID
	got := allocation.Strip(claim, driver)
	if text := got.String(); strings.Contains(text, long) {
		t.Errorf("the claim still contains what users write: %s", text)
	}
	a := allocation.FromClaim(got, driver)
	if a.ID != want || len(a.Results) != 32 || got.ResourceVersion != "7" || !allocation.IsTruncated(got) {
		t.Errorf("got %+v, want allocation %s", got, want)
	}
}

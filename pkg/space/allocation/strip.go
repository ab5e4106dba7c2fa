// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation

import (
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxKept is the size up to which Strip keeps a claim as it is, in bytes.
const maxKept = 16 << 10

// truncatedAnnotation marks a claim that was too large to keep. No stored claim has it.
const truncatedAnnotation = "space-dra-driver/truncated"

// Strip returns what components keep of a claim in memory. Users can write claims of 1.5 MiB. A
// claim of the driver is kept without its managed fields: its status is updated as it was kept. Of
// a claim that is too large, only its allocation, its consumers and the driver's part of the status
// are kept, without its parameters: IsTruncated reports that. Of a claim without a result of
// the driver, only the identity is kept. The claim itself is no longer valid.
func Strip(claim *resourceapi.ResourceClaim, driver string) *resourceapi.ResourceClaim {
	claim.ManagedFields = nil
	out := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
		CreationTimestamp: claim.CreationTimestamp, DeletionTimestamp: claim.DeletionTimestamp,
	}}
	if FromClaim(claim, driver) == nil {
		return out
	}
	if claim.Size() <= maxKept {
		return claim
	}
	metav1.SetMetaDataAnnotation(&out.ObjectMeta, truncatedAnnotation, "true")
	if slices.Contains(claim.Finalizers, resourceapi.Finalizer) {
		out.Finalizers = []string{resourceapi.Finalizer}
	}
	out.Status.ReservedFor = claim.Status.ReservedFor
	out.Status.Allocation = &resourceapi.AllocationResult{AllocationTimestamp: claim.Status.Allocation.AllocationTimestamp}
	for _, result := range claim.Status.Allocation.Devices.Results {
		if result.Driver == driver {
			result.Tolerations = nil // which users write
			out.Status.Allocation.Devices.Results = append(out.Status.Allocation.Devices.Results, result)
		}
	}
	for _, device := range claim.Status.Devices {
		if device.Driver == driver {
			out.Status.Devices = append(out.Status.Devices, device)
		}
	}
	return out
}

// IsTruncated returns whether Strip kept only a part of the claim.
func IsTruncated(claim *resourceapi.ResourceClaim) bool {
	return claim.Annotations[truncatedAnnotation] != ""
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation

import (
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// maxSize is the size in bytes up to which Strip does not truncate a claim.
const maxSize = 16 << 10

// maxCachedExtension is longer than any valid extension.
const maxCachedExtension = 64

// truncatedAnnotation marks a truncated claim. No stored claim has it.
const truncatedAnnotation = "space-dra-driver/truncated"

// Strip returns the parts of a claim that components store in memory. Users can write claims of
// 1.5 MiB. Strip removes the managed fields of a claim with a result of the driver, and leaves the
// rest, so that its status can be updated. It truncates a larger claim to its allocation without
// parameters, its consumers and the driver's part of the status: IsTruncated reports that. Of a claim
// without a result of the driver, it keeps only what identifies the claim. Strip changes the claim,
// which must not be used afterwards.
func Strip(claim *resourceapi.ResourceClaim, driver string) *resourceapi.ResourceClaim {
	claim.ManagedFields = nil
	out := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
		CreationTimestamp: claim.CreationTimestamp, DeletionTimestamp: claim.DeletionTimestamp,
	}}
	if FromClaim(claim, driver) == nil {
		return out
	}
	if claim.Size() <= maxSize {
		return claim
	}
	metav1.SetMetaDataAnnotation(&out.ObjectMeta, truncatedAnnotation, "true")
	// Only a change of it matters, because a truncated claim is read from the API server.
	key := spaceapi.KeysFor(driver).Extension
	if extension, exists := claim.Annotations[key]; exists {
		out.Annotations[key] = strings.Clone(extension[:min(len(extension), maxCachedExtension)])
	}
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

// IsTruncated reports whether Strip has truncated the claim.
func IsTruncated(claim *resourceapi.ResourceClaim) bool {
	return claim.Annotations[truncatedAnnotation] != ""
}

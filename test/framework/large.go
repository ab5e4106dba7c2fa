// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// MaxObject is the size of the largest object that etcd stores, in bytes of protobuf. etcd's limit for
// requests, 1.5 MiB, includes 2 KiB for what surrounds the object.
const MaxObject = 1536<<10 - 2<<10

// LargestConfig is the length of a string that makes opaque parameters as large as allowed.
const LargestConfig = 10<<10 - 16

// LargestClaim returns a claim that is room bytes smaller than MaxObject, for example for its status.
func LargestClaim(name string, room int) *resourceapi.ResourceClaim {
	claim := NewClaim(name)
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, "example.com/note", strings.Repeat("n", 255<<10))
	for range resourceapi.DeviceConfigMaxSize {
		config := resourceapi.DeviceClaimConfiguration{}
		config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: "other.example.com", Parameters: runtime.RawExtension{
			Raw: fmt.Appendf(nil, `{"large":%q}`, strings.Repeat("x", LargestConfig)),
		}}
		claim.Spec.Devices.Config = append(claim.Spec.Devices.Config, config)
	}
	// A comment is cheap for the API server, which compiles the expressions.
	const comment = "true // "
	for n := 0; ; n++ {
		left := MaxObject - room - claim.Size() - 64
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

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Toolbox is the image of test pods: a shell, the usual commands, and kubectl.
const Toolbox = "registry.example.com/space-dra-driver/toolbox:v0.1.0"

// ClaimSpec returns the spec of a claim with these requests, for one space each.
func ClaimSpec(requests ...string) resourceapi.ResourceClaimSpec {
	var spec resourceapi.ResourceClaimSpec
	for _, name := range requests {
		spec.Devices.Requests = append(spec.Devices.Requests, resourceapi.DeviceRequest{
			Name:    name,
			Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: spaceapi.DefaultDriverName},
		})
	}
	return spec
}

// NewClaim returns a ResourceClaim with these requests, or one called `space`.
func NewClaim(name string, requests ...string) *resourceapi.ResourceClaim {
	if len(requests) == 0 {
		requests = []string{"space"}
	}
	return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: ClaimSpec(requests...)}
}

// OfClass sets the DeviceClass of a claim's first request.
func OfClass(class string, claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	claim.Spec.Devices.Requests[0].Exactly.DeviceClassName = class
	return claim
}

// WithParameters adds opaque parameters for the driver to a claim.
func WithParameters(claim *resourceapi.ResourceClaim, json string) *resourceapi.ResourceClaim {
	claim.Spec.Devices.Config = append(claim.Spec.Devices.Config, resourceapi.DeviceClaimConfiguration{
		DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
			Driver: spaceapi.DefaultDriverName, Parameters: runtime.RawExtension{Raw: []byte(json)},
		}},
	})
	return claim
}

// NewPod returns a pod with one container that sleeps and uses the claims, under their own names.
func NewPod(name string, claims ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{
				Name:            "ctr",
				Image:           Toolbox,
				ImagePullPolicy: corev1.PullIfNotPresent,
				Command:         []string{"sleep", "infinity"},
			}},
		},
	}
	for _, claim := range claims {
		pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, corev1.PodResourceClaim{Name: claim, ResourceClaimName: ptr.To(claim)})
		pod.Spec.Containers[0].Resources.Claims = append(pod.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: claim})
	}
	return pod
}

// On restricts a pod to a node.
func On(node string, pod *corev1.Pod) *corev1.Pod {
	pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	return pod
}

// NewTemplate returns a template for claims with one space.
func NewTemplate(name string) *resourceapi.ResourceClaimTemplate {
	return &resourceapi.ResourceClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       resourceapi.ResourceClaimTemplateSpec{Spec: ClaimSpec("space")},
	}
}

// NewPodFromTemplate returns a pod like NewPod, with a claim from a template, under the template's name.
func NewPodFromTemplate(name, template string) *corev1.Pod {
	pod := NewPod(name, template)
	pod.Spec.ResourceClaims[0] = corev1.PodResourceClaim{Name: template, ResourceClaimTemplateName: ptr.To(template)}
	return pod
}

// WithScript sets a shell script as the command of the pod's container.
func WithScript(script string, pod *corev1.Pod) *corev1.Pod {
	pod.Spec.Containers[0].Command = []string{"sh", "-c", script}
	return pod
}

// TimeoutPattern matches errors of kubectl about timeouts, as a pattern of the shell. A busy machine causes
// them, not the driver.
const TimeoutPattern = `*"handshake timeout"*|*"i/o timeout"*|*"deadline exceeded"*|*"Client.Timeout"*|*"request canceled"*`

// RetryTimeouts returns a shell script that repeats a command as long as it times out, and fails after any
// other error.
func RetryTimeouts(command string) string {
	return `
until out=$(` + command + ` 2>&1); do
  case "$out" in
    ` + TimeoutPattern + `) sleep 1;;
    *) echo "$out"; exit 1;;
  esac
done
`
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"fmt"
	"maps"
	"path"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

const (
	// imageRepository is the value image.repository of the chart.
	imageRepository = "registry.example.com/space-dra-driver/space-dra-driver"
	// Container is the container of a holder's pod, and of programs in its image.
	Container = "space-holder"
	// request is the only request of a holder's claim.
	request = "space"
)

// Image returns the driver's image of a version.
func Image(version string) string { return imageRepository + ":" + version }

// TokenCommand prints the token of the space of a claim in the container of a holder.
func TokenCommand(claim types.UID) []string {
	return []string{Container, "token", path.Join(containeredits.CredentialsDir(claim, ""), containeredits.TokenFile)}
}

// Options describe a space and its holder.
type Options struct {
	Namespace string
	// Name is the name of the Job and of the claim.
	Name string
	// Driver is the name of the DRA driver, and Class the DeviceClass.
	Driver, Class string
	// Parameters are those of the claim, as JSON, or empty.
	Parameters []byte
	// Image is that of the driver.
	Image string
	// Labels are those of the Job, its pod and the claim, in addition to the driver's own.
	Labels map[string]string
}

func (o *Options) objectMeta() metav1.ObjectMeta {
	labels := maps.Clone(o.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[spaceapi.HolderLabel(o.Driver)] = "true"
	return metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, Labels: labels}
}

// newJob returns a Job whose pod uses the claim of the same name. When it ends for whatever reason,
// Kubernetes deletes it, and everything that it owns.
func (o *Options) newJob(deadline time.Duration) *batchv1.Job {
	meta := o.objectMeta()
	return &batchv1.Job{
		ObjectMeta: meta,
		Spec: batchv1.JobSpec{
			ActiveDeadlineSeconds: ptr.To(seconds(deadline)),
			// Another pod would have another space.
			BackoffLimit:            ptr.To[int32](0),
			TTLSecondsAfterFinished: ptr.To[int32](0),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
				Spec: corev1.PodSpec{
					RestartPolicy:                 corev1.RestartPolicyNever,
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					AutomountServiceAccountToken:  ptr.To(false),
					EnableServiceLinks:            ptr.To(false),
					ResourceClaims:                []corev1.PodResourceClaim{{Name: request, ResourceClaimName: &o.Name}},
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot:   ptr.To(true),
						SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{{
						Name:            Container,
						Image:           o.Image,
						ImagePullPolicy: corev1.PullIfNotPresent,
						Command:         []string{Container},
						Resources: corev1.ResourceRequirements{
							Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
							// The container runtime starts commands in the container within these limits.
							Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
							Claims: []corev1.ResourceClaim{{Name: request}},
						},
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: ptr.To(false),
							ReadOnlyRootFilesystem:   ptr.To(true),
							Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
					}},
				},
			},
		},
	}
}

// newClaim returns the claim of a holder. Its owner reference does not block the deletion of the Job, which
// would need another permission.
func (o *Options) newClaim(owner *batchv1.Job) *resourceapi.ResourceClaim {
	claim := &resourceapi.ResourceClaim{ObjectMeta: o.objectMeta()}
	claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job", Name: owner.Name, UID: owner.UID}}
	claim.Spec.Devices.Requests = []resourceapi.DeviceRequest{{Name: request, Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: o.Class}}}
	if len(o.Parameters) > 0 {
		claim.Spec.Devices.Config = []resourceapi.DeviceClaimConfiguration{{DeviceConfiguration: resourceapi.DeviceConfiguration{
			Opaque: &resourceapi.OpaqueDeviceConfiguration{Driver: o.Driver, Parameters: runtime.RawExtension{Raw: o.Parameters}},
		}}}
	}
	return claim
}

// seconds rounds up: a deadline is never earlier than the duration.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// deadlinePatch is a merge patch for a Job that ends after a duration since its start. It is not for
// another Job of the same name.
func deadlinePatch(job types.UID, deadline time.Duration) []byte {
	return fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"activeDeadlineSeconds":%d}}`, job, seconds(deadline))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// snapshot is what could be read of a cluster. Everything that a command prints is
// computed from one.
type snapshot struct {
	driver string
	now    time.Time
	// claims and pods are those of the namespaces in question, events those about the
	// objects in question.
	claims []resourceapi.ResourceClaim
	pods   []corev1.Pod
	events []corev1.Event
	// namespaces and quotas are those of spaces.
	namespaces []corev1.Namespace
	quotas     []corev1.ResourceQuota
	// slices are the driver's, classes all.
	slices  []resourceapi.ResourceSlice
	classes []resourceapi.DeviceClass
	// namespacesVersion and claimsVersion are where a watch continues.
	namespacesVersion, claimsVersion string
	// forbidden are the rights that the user lacks, in the order in which they were missed.
	forbidden []string
}

// The rights that show more.
const (
	listPods       = "list pods"
	listEvents     = "list events"
	listNamespaces = "list namespaces"
	listQuotas     = "list resourcequotas"
	listSlices     = "list resourceslices"
	listClasses    = "list deviceclasses"
	listAllClaims  = "list resourceclaims in all namespaces"
)

// permit records a right as forbidden if err says so, and returns any other error.
func (s *snapshot) permit(err error, right string) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	if !s.mayNot(right) {
		s.forbidden = append(s.forbidden, right)
	}
	return nil
}

func (s *snapshot) mayNot(right string) bool { return slices.Contains(s.forbidden, right) }

// note is a sentence about the rights that would have shown more, or empty.
func (s *snapshot) note() string {
	if len(s.forbidden) == 0 {
		return ""
	}
	return "Not all could be read: you may not " + strings.Join(s.forbidden, ", ") + "."
}

func (s *snapshot) keys() spaceapi.Keys { return spaceapi.KeysFor(s.driver) }

// find returns the first item that matches, or nil.
func find[T any](items []T, matches func(*T) bool) *T {
	for i := range items {
		if matches(&items[i]) {
			return &items[i]
		}
	}
	return nil
}

func (s *snapshot) claim(namespace, name string) *resourceapi.ResourceClaim {
	return find(s.claims, func(c *resourceapi.ResourceClaim) bool { return c.Namespace == namespace && c.Name == name })
}

func (s *snapshot) pod(namespace, name string) *corev1.Pod {
	return find(s.pods, func(p *corev1.Pod) bool { return p.Namespace == namespace && p.Name == name })
}

func (s *snapshot) class(name string) *resourceapi.DeviceClass {
	return find(s.classes, func(c *resourceapi.DeviceClass) bool { return c.Name == name })
}

func (s *snapshot) namespace(name string) *corev1.Namespace {
	return find(s.namespaces, func(n *corev1.Namespace) bool { return n.Name == name })
}

// quota is the driver's ResourceQuota in a space, or nil.
func (s *snapshot) quota(namespace string) *corev1.ResourceQuota {
	return find(s.quotas, func(q *corev1.ResourceQuota) bool {
		return q.Namespace == namespace && q.Name == spaceapi.ObjectName
	})
}

// consumers are the pods that name a claim and are not done.
func (s *snapshot) consumers(claim *resourceapi.ResourceClaim) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range s.pods {
		pod := &s.pods[i]
		if pod.Namespace == claim.Namespace && !isDone(pod) && slices.Contains(claimsOf(pod), claim.Name) {
			out = append(out, pod)
		}
	}
	return out
}

func isDone(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// claimOf is the name of the claim for an entry of a pod's spec. It is empty if the claim
// is not created from its template yet.
func claimOf(pod *corev1.Pod, ref corev1.PodResourceClaim) string {
	name, _, err := resourceclaim.Name(pod, &ref)
	if err != nil || name == nil {
		return ""
	}
	return *name
}

// claimsOf are the names of the claims that a pod uses and that are created.
func claimsOf(pod *corev1.Pod) []string {
	var out []string
	for _, ref := range pod.Spec.ResourceClaims {
		if name := claimOf(pod, ref); name != "" {
			out = append(out, name)
		}
	}
	if extended := pod.Status.ExtendedResourceClaimStatus; extended != nil {
		out = append(out, extended.ResourceClaimName)
	}
	return out
}

// requestsSpace reports whether a claim has a space, or names a class that provides spaces.
func (s *snapshot) requestsSpace(claim *resourceapi.ResourceClaim) bool {
	if claim.Status.Allocation != nil {
		return hasResult(claim, s.driver)
	}
	for _, config := range claim.Spec.Devices.Config {
		if config.Opaque != nil && config.Opaque.Driver == s.driver {
			return true
		}
	}
	return slices.ContainsFunc(classesOf(claim.Spec.Devices.Requests...), s.providesSpaces)
}

// providesSpaces reports whether a class is for spaces. A class that can't be read is one
// if it is called like the driver, or if another claim has a space by it.
func (s *snapshot) providesSpaces(name string) bool {
	if class := s.class(name); class != nil {
		return slices.ContainsFunc(class.Spec.Selectors, func(selector resourceapi.DeviceSelector) bool { return mentions(selector, s.driver) }) ||
			slices.ContainsFunc(class.Spec.Config, func(c resourceapi.DeviceClassConfiguration) bool {
				return c.Opaque != nil && c.Opaque.Driver == s.driver
			})
	}
	return name == s.driver || slices.ContainsFunc(s.claims, func(claim resourceapi.ResourceClaim) bool {
		a := allocation.FromClaim(&claim, s.driver)
		return a != nil && slices.ContainsFunc(a.Results, func(result allocation.Result) bool { return result.Class == name })
	})
}

// mentions reports whether a selector has a value as a string constant.
func mentions(selector resourceapi.DeviceSelector, value string) bool {
	return selector.CEL != nil && (strings.Contains(selector.CEL.Expression, `"`+value+`"`) || strings.Contains(selector.CEL.Expression, `'`+value+`'`))
}

// classesOf are the DeviceClasses that requests name.
func classesOf(requests ...resourceapi.DeviceRequest) []string {
	var out []string
	for _, request := range requests {
		if request.Exactly != nil {
			out = append(out, request.Exactly.DeviceClassName)
		}
		for _, sub := range request.FirstAvailable {
			out = append(out, sub.DeviceClassName)
		}
	}
	return out
}

// results are what is allocated to a claim, of all drivers.
func results(claim *resourceapi.ResourceClaim) []resourceapi.DeviceRequestAllocationResult {
	if claim.Status.Allocation == nil {
		return nil
	}
	return claim.Status.Allocation.Devices.Results
}

func hasResult(claim *resourceapi.ResourceClaim, driver string) bool {
	return slices.ContainsFunc(results(claim), func(r resourceapi.DeviceRequestAllocationResult) bool { return r.Driver == driver })
}

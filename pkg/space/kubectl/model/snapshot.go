// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package model says what there is to say about spaces, for people: which there
// are, and why there is none. All functions are pure functions of what could be
// read of the cluster, which need not be all of it.
package model

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// Snapshot is what could be read of a cluster.
type Snapshot struct {
	// Driver is the driver's name.
	Driver string
	// Now is when it was read.
	Now time.Time
	// Claims and Pods are those of the namespaces in question, Events those about
	// the objects in question.
	Claims []resourceapi.ResourceClaim
	Pods   []corev1.Pod
	Events []corev1.Event
	// Namespaces and Quotas are those of spaces.
	Namespaces []corev1.Namespace
	Quotas     []corev1.ResourceQuota
	// Slices are the driver's, Classes all.
	Slices  []resourceapi.ResourceSlice
	Classes []resourceapi.DeviceClass
	// AllClaims is true if Claims are those of all namespaces.
	AllClaims bool
	// Missing are the rights for what could not be read.
	Missing Missing
}

// Right is what somebody may not read.
type Right string

// The rights that more is known with.
const (
	ListPods       Right = "list pods"
	ListEvents     Right = "list events"
	GetNamespaces  Right = "get namespaces"
	ListNamespaces Right = "list namespaces"
	GetQuotas      Right = "get resourcequotas in the namespaces of spaces"
	ListSlices     Right = "list resourceslices"
	ListClasses    Right = "list deviceclasses"
	ListAllClaims  Right = "list resourceclaims in all namespaces"
)

// Missing are rights, in the order in which they were missed.
type Missing []Right

// Has says whether the right is missing.
func (m Missing) Has(r Right) bool { return slices.Contains(m, r) }

// With adds a right, once.
func (m Missing) With(r Right) Missing {
	if m.Has(r) {
		return m
	}
	return append(m, r)
}

// Keys are the keys of the driver's labels and annotations.
func (s *Snapshot) Keys() spaceapi.Keys { return spaceapi.KeysFor(s.Driver) }

// Asks says whether a claim asks for a space: it has one, or a class that gives
// spaces. Without the right to read classes, it is known of those that are called
// like the driver, or by which another claim has a space.
func (s *Snapshot) Asks(claim *resourceapi.ResourceClaim) bool {
	if claim.Status.Allocation != nil {
		return identity.Of(claim, s.Driver) != nil || hasResult(claim, s.Driver)
	}
	for _, config := range claim.Spec.Devices.Config {
		if config.Opaque != nil && config.Opaque.Driver == s.Driver {
			return true
		}
	}
	return slices.ContainsFunc(ClassesOf(claim), s.gives)
}

// gives says whether a class gives spaces.
func (s *Snapshot) gives(class string) bool {
	for i := range s.Classes {
		if s.Classes[i].Name == class {
			return isAboutDriver(&s.Classes[i], s.Driver)
		}
	}
	if class == s.Driver {
		return true
	}
	for i := range s.Claims {
		if a := identity.Of(&s.Claims[i], s.Driver); a != nil && slices.ContainsFunc(a.Shares, func(share identity.Share) bool { return share.Class == class }) {
			return true
		}
	}
	return false
}

func isAboutDriver(class *resourceapi.DeviceClass, driver string) bool {
	for _, selector := range class.Spec.Selectors {
		if selector.CEL != nil && (strings.Contains(selector.CEL.Expression, `"`+driver+`"`) || strings.Contains(selector.CEL.Expression, `'`+driver+`'`)) {
			return true
		}
	}
	return slices.ContainsFunc(class.Spec.Config, func(c resourceapi.DeviceClassConfiguration) bool {
		return c.Opaque != nil && c.Opaque.Driver == driver
	})
}

// ClassesOf are the DeviceClasses that a claim names.
func ClassesOf(claim *resourceapi.ResourceClaim) []string {
	var out []string
	for _, request := range claim.Spec.Devices.Requests {
		out = append(out, classesOf(request)...)
	}
	return out
}

func classesOf(request resourceapi.DeviceRequest) []string {
	var out []string
	if request.Exactly != nil {
		out = append(out, request.Exactly.DeviceClassName)
	}
	for _, sub := range request.FirstAvailable {
		out = append(out, sub.DeviceClassName)
	}
	return out
}

func hasResult(claim *resourceapi.ResourceClaim, driver string) bool {
	return claim.Status.Allocation != nil && slices.ContainsFunc(claim.Status.Allocation.Devices.Results, func(r resourceapi.DeviceRequestAllocationResult) bool {
		return r.Driver == driver
	})
}

// Claim returns a claim, or nil.
func (s *Snapshot) Claim(namespace, name string) *resourceapi.ResourceClaim {
	for i := range s.Claims {
		if s.Claims[i].Namespace == namespace && s.Claims[i].Name == name {
			return &s.Claims[i]
		}
	}
	return nil
}

// Pod returns a pod, or nil.
func (s *Snapshot) Pod(namespace, name string) *corev1.Pod {
	for i := range s.Pods {
		if s.Pods[i].Namespace == namespace && s.Pods[i].Name == name {
			return &s.Pods[i]
		}
	}
	return nil
}

// Namespace returns the namespace of a space, or nil.
func (s *Snapshot) Namespace(name string) *corev1.Namespace {
	for i := range s.Namespaces {
		if s.Namespaces[i].Name == name {
			return &s.Namespaces[i]
		}
	}
	return nil
}

// Quota returns the driver's ResourceQuota in a space, or nil.
func (s *Snapshot) Quota(namespace string) *corev1.ResourceQuota {
	for i := range s.Quotas {
		if s.Quotas[i].Namespace == namespace && s.Quotas[i].Name == spaceapi.LimitsName {
			return &s.Quotas[i]
		}
	}
	return nil
}

// ClaimOf is the name of the claim that a pod means by one of its own names, and
// whether it exists already.
func ClaimOf(pod *corev1.Pod, ref corev1.PodResourceClaim) (string, bool) {
	if ref.ResourceClaimName != nil {
		return *ref.ResourceClaimName, true
	}
	for _, status := range pod.Status.ResourceClaimStatuses {
		if status.Name == ref.Name && status.ResourceClaimName != nil {
			return *status.ResourceClaimName, true
		}
	}
	return "", false
}

// ClaimsOf are the names of the claims that there are for a pod.
func ClaimsOf(pod *corev1.Pod) []string {
	var out []string
	for _, ref := range pod.Spec.ResourceClaims {
		if name, made := ClaimOf(pod, ref); made {
			out = append(out, name)
		}
	}
	if extended := pod.Status.ExtendedResourceClaimStatus; extended != nil {
		out = append(out, extended.ResourceClaimName)
	}
	return out
}

// usersOf are the pods that name a claim, done ones left out.
func (s *Snapshot) usersOf(claim *resourceapi.ResourceClaim) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range s.Pods {
		pod := &s.Pods[i]
		if pod.Namespace == claim.Namespace && !isDone(pod) && slices.Contains(ClaimsOf(pod), claim.Name) {
			out = append(out, pod)
		}
	}
	return out
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// PodReady matches a pod with the condition Ready.
func PodReady() Predicate[*corev1.Pod] {
	return That("ready", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})
}

// SpacesReady matches a claim with n spaces, all of which are ready.
func SpacesReady(n int) Predicate[*resourceapi.ResourceClaim] {
	return That(fmt.Sprintf("ready with %d spaces", n), func(c *resourceapi.ResourceClaim) bool {
		return len(c.Status.Devices) == n && SpacesReadyNow(c)
	})
}

// SpacesReadyNow reports whether a claim has spaces, and all of them are ready.
func SpacesReadyNow(c *resourceapi.ResourceClaim) bool {
	return len(c.Status.Devices) > 0 && !slices.ContainsFunc(c.Status.Devices, func(d resourceapi.AllocatedDeviceStatus) bool {
		return !meta.IsStatusConditionTrue(d.Conditions, spaceapi.ConditionReady) || d.Data == nil
	})
}

// NotReadyBecause matches a claim with a space whose condition Ready is False with the reason, and a
// message that contains words.
func NotReadyBecause(reason, words string) Predicate[*resourceapi.ResourceClaim] {
	return That(fmt.Sprintf("not ready with reason %s and message %q", reason, words), func(c *resourceapi.ResourceClaim) bool {
		return slices.ContainsFunc(c.Status.Devices, func(d resourceapi.AllocatedDeviceStatus) bool {
			ready := meta.FindStatusCondition(d.Conditions, spaceapi.ConditionReady)
			return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == reason && strings.Contains(ready.Message, words)
		})
	})
}

// Deallocated matches a claim without an allocation.
func Deallocated() Predicate[*resourceapi.ResourceClaim] {
	return That("deallocated", func(c *resourceapi.ResourceClaim) bool { return c.Status.Allocation == nil })
}

// EventAbout matches an event about an object, with a reason, and a message that contains words.
func EventAbout(kind, name, reason, words string) Predicate[*corev1.Event] {
	return That(fmt.Sprintf("about %s %s with reason %s and message %q", kind, name, reason, words), func(e *corev1.Event) bool {
		return e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && e.Reason == reason && strings.Contains(e.Message, words)
	})
}

// SpaceStatus returns the data of a claim's i-th device.
func SpaceStatus(t testing.TB, claim *resourceapi.ResourceClaim, i int) spaceapi.SpaceStatus {
	t.Helper()
	var status spaceapi.SpaceStatus
	if err := json.Unmarshal(claim.Status.Devices[i].Data.Raw, &status); err != nil {
		t.Fatalf("read the status of ResourceClaim %s/%s: %v", claim.Namespace, claim.Name, err)
	}
	return status
}

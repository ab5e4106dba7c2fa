// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestQuotaResource_isUniqueForEachCapacity(t *testing.T) {
	seen := map[corev1.ResourceName]bool{spaceapi.QuotaResource(spaceapi.SpacesCapacity): true}
	for _, name := range spaceapi.BudgetCapacities() {
		resource := spaceapi.QuotaResource(name)
		if seen[resource] {
			t.Errorf("capacity %s: got resource %q, which another capacity has", name, resource)
		}
		seen[resource] = true
		if msgs := validation.IsCIdentifier(name); len(msgs) > 0 || len(name) > resourceapi.DeviceMaxIDLength {
			t.Errorf("%s cannot be a capacity: %v", name, msgs)
		}
	}
	if !seen[""] {
		t.Errorf("the capacity %s is a resource of a quota", spaceapi.SpacesCapacity)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestEachAmountOfABudgetIsOneAmountOfAQuota(t *testing.T) {
	seen := map[corev1.ResourceName]bool{}
	for _, name := range budgetNames() {
		quota := spaceapi.QuotaResource(name)
		if quota == "" || seen[quota] {
			t.Errorf("%s is %q in a quota, as nothing or something else is", name, quota)
		}
		seen[quota] = true
		if msgs := validation.IsCIdentifier(name); len(msgs) > 0 || len(name) > resourceapi.DeviceMaxIDLength {
			t.Errorf("%s can't be a capacity: %v", name, msgs)
		}
	}
	if got := spaceapi.QuotaResource(spaceapi.SpacesCapacity); got != "" {
		t.Errorf("the limit of a pool is %q in a quota", got)
	}
}

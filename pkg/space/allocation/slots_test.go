// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation_test

import (
	"testing"

	resourceapi "k8s.io/api/resource/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

func TestNoTwoSpacesOfAClaimHaveTheSameSlot(t *testing.T) {
	var results []resourceapi.DeviceRequestAllocationResult
	for i, request := range []string{"a", "a", "a-0"} { // "a" with count 2, and a request called "a-0"
		r := result(request)
		r.Device = string(rune('x' + i))
		results = append(results, r)
	}
	seen := map[string]bool{}
	for _, s := range allocation.FromClaim(claimWith(results...), driver).Results {
		if seen[s.Subdir] {
			t.Errorf("slot %q is given twice", s.Subdir)
		}
		seen[s.Subdir] = true
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func TestDeprovisionStale_reportsWhyTheSpaceEnds(t *testing.T) {
	for words, change := range map[string]func(*resourceapi.ResourceClaim) *resourceapi.ResourceClaim{
		"Claim deleted: ": func(*resourceapi.ResourceClaim) *resourceapi.ResourceClaim { return nil },
		"Claim deleted: credentials": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.DeletionTimestamp, claim.Finalizers = ptr.To(metav1.Now()), []string{"example.com/mine"}
			return claim
		},
		"another one of the same name": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.UID = "another"
			return claim
		},
		"no pod uses it any more (another pod": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.Status.Allocation = nil
			return claim
		},
		"allocated again": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
			return claim
		},
	} {
		t.Run(words, func(t *testing.T) {
			c, _ := withSpace(t, unchanged)
			claim := change(claimFor("a"))
			if claim != nil {
				c.live(claim)
			}
			if _, err := c.deprovisionStale(t.Context(), key, c.desired(claim), c.ofClaim()); err != nil {
				t.Fatal(err)
			}
			if recorded := c.recorded(); len(recorded) != 1 || !strings.Contains(recorded[0], words) {
				t.Errorf("recorded %q", recorded)
			}
		})
	}
}

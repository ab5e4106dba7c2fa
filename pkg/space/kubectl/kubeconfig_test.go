// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"testing"

	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestReadySpace_belongsToTheAllocation(t *testing.T) {
	foreign := ready(t, "a")
	data := foreign.Status.Devices[0].Data
	data.Raw = bytes.ReplaceAll(data.Raw, []byte(spaceName(foreign)), []byte("kube-system"))
	for name, test := range map[string]struct {
		claim   *resourceapi.ResourceClaim
		request string
		want    bool
	}{
		"ready":                             {ready(t, "a"), "", true},
		"ready, by its request":             {ready(t, "a"), "space", true},
		"another request":                   {ready(t, "a"), "other", false},
		"not ready":                         {withCondition(t, allocated(claim("a", driver), "spaces"), spaceapi.ReasonProvisioningFailed, "no"), "", false},
		"a foreign namespace in the status": {foreign, "", false},
		"a claim without a space":           {claim("a", driver), "", false},
	} {
		space, err := readySpace(test.claim, driver, test.request)
		if (err == nil) != test.want || test.want && space.Space != spaceName(test.claim) {
			t.Errorf("%s: got %+v, error %v, want a space: %t", name, space, err, test.want)
		}
	}
}

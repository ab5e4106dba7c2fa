// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func parameters(driver string, source resourceapi.AllocationConfigSource, raw string) resourceapi.DeviceAllocationConfiguration {
	config := resourceapi.DeviceAllocationConfiguration{Source: source}
	config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}}
	return config
}

func TestCheckParameters(t *testing.T) {
	const (
		ours    = spaceapi.DefaultDriverName
		foreign = "gpu.example.com"
		class   = resourceapi.AllocationConfigSourceClass
		claim   = resourceapi.AllocationConfigSourceClaim
		some    = `{"apiVersion":"space.resource.example.com/v9","kind":"Whatever"}`
	)
	for name, test := range map[string]struct {
		configs []resourceapi.DeviceAllocationConfiguration
		// want are parts of the error; none: there is to be no error.
		want []string
	}{
		"none at all":                          {nil, nil},
		"none opaque":                          {[]resourceapi.DeviceAllocationConfiguration{{Source: claim}}, nil},
		"only those of others are passed over": {[]resourceapi.DeviceAllocationConfiguration{parameters(foreign, claim, `not JSON`)}, nil},
		"ours in the claim": {
			[]resourceapi.DeviceAllocationConfiguration{parameters(ours, claim, some)},
			[]string{"the ResourceClaim has", ours, `"Whatever"`, `"space.resource.example.com/v9"`}},
		"ours in the class": {
			[]resourceapi.DeviceAllocationConfiguration{parameters(ours, class, some)},
			[]string{"the DeviceClass has", `"Whatever"`}},
		"ours behind those of others": {
			[]resourceapi.DeviceAllocationConfiguration{{Source: class}, parameters(foreign, class, some), parameters(ours, claim, some)},
			[]string{"the ResourceClaim has", ours}},
		"broken JSON": {
			[]resourceapi.DeviceAllocationConfiguration{parameters(ours, class, `{"kind":`)},
			[]string{"the DeviceClass has", ours, "cannot be read"}},
		"a kind that is no string": {
			[]resourceapi.DeviceAllocationConfiguration{parameters(ours, claim, `{"kind":7}`)},
			[]string{"the ResourceClaim has", "cannot be read"}},
		"nothing in them": {
			[]resourceapi.DeviceAllocationConfiguration{parameters(ours, claim, ``)},
			[]string{"the ResourceClaim has", "cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := spaceapi.CheckParameters(ours, test.configs)
			if len(test.want) == 0 {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			if err == nil {
				t.Fatal("got no error")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
		})
	}
}

func TestTwoInstallationsHaveNoKeyInCommon(t *testing.T) {
	keys := func(driver string) []string {
		k := spaceapi.KeysFor(driver)
		return []string{k.ClaimUID, k.AllocationID, k.ClaimNamespace, k.ClaimName, k.Request}
	}
	seen := map[string]bool{}
	for _, key := range append(keys("a.example.com"), keys("b.example.com")...) {
		if seen[key] {
			t.Errorf("key %s is used twice", key)
		}
		seen[key] = true
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package parameters_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

const (
	ours    = spaceapi.DefaultDriverName
	foreign = "gpu.example.com"
	class   = resourceapi.AllocationConfigSourceClass
	claim   = resourceapi.AllocationConfigSourceClaim
	head    = `{"apiVersion":"space.resource.example.com/v1alpha1","kind":"SpaceClassConfig"`
	unknown = `{"apiVersion":"space.resource.example.com/v9","kind":"Whatever"}`
)

func config(driver string, source resourceapi.AllocationConfigSource, raw string, requests ...string) resourceapi.DeviceAllocationConfiguration {
	c := resourceapi.DeviceAllocationConfiguration{Source: source, Requests: requests}
	c.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}}
	return c
}

type configs = []resourceapi.DeviceAllocationConfiguration

func TestWhatIsSaidHolds(t *testing.T) {
	for name, test := range map[string]struct {
		configs configs
		want    parameters.Effective
	}{
		"none at all":                          {nil, parameters.Effective{}},
		"none opaque":                          {configs{{Source: claim}}, parameters.Effective{}},
		"only those of others are passed over": {configs{config(foreign, claim, `not JSON`)}, parameters.Effective{}},
		"an empty class":                       {configs{config(ours, class, head+`}`)}, parameters.Effective{}},
		"both fields": {configs{config(ours, class, head+`,"maxLifetime":"8h","retain":"30m"}`)},
			parameters.Effective{MaxLifetime: 8 * time.Hour, Retain: 30 * time.Minute}},
		"later ones win field by field": {configs{
			config(ours, class, head+`,"maxLifetime":"8h","retain":"30m"}`), config(ours, class, head+`,"maxLifetime":"1h"}`)},
			parameters.Effective{MaxLifetime: time.Hour, Retain: 30 * time.Minute}},
		"those of another request are passed over": {configs{config(ours, class, head+`,"maxLifetime":"8h"}`, "other")}, parameters.Effective{}},
		"those of the request":                     {configs{config(ours, class, head+`,"maxLifetime":"8h"}`, "other", "space")}, parameters.Effective{MaxLifetime: 8 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parameters.For(ours, test.configs, "space/small")
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, error %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestWhatIsWrongIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		configs configs
		// want are parts of the error.
		want []string
	}{
		"any in the claim":        {configs{config(ours, claim, head+`}`)}, []string{"the ResourceClaim has", ours, "only a DeviceClass can have"}},
		"unknown in the claim":    {configs{config(ours, claim, unknown)}, []string{"the ResourceClaim has", `"Whatever"`, `"space.resource.example.com/v9"`}},
		"unknown in the class":    {configs{config(ours, class, unknown)}, []string{"the DeviceClass has", `"Whatever"`, "SpaceClassConfig"}},
		"behind those of others":  {configs{{Source: class}, config(foreign, class, unknown), config(ours, claim, unknown)}, []string{"the ResourceClaim has"}},
		"behind good ones":        {configs{config(ours, class, head+`}`), config(ours, class, unknown)}, []string{"the DeviceClass has"}},
		"broken JSON":             {configs{config(ours, class, `{"kind":`)}, []string{"the DeviceClass has", ours, "cannot be read"}},
		"a kind that is a number": {configs{config(ours, claim, `{"kind":7}`)}, []string{"the ResourceClaim has", "cannot be read"}},
		"an unknown field":        {configs{config(ours, class, head+`,"maxLivetime":"8h"}`)}, []string{"the DeviceClass has", `unknown field "maxLivetime"`}},
		"a field in other case":   {configs{config(ours, class, head+`,"MaxLifetime":"8h"}`)}, []string{`unknown field "MaxLifetime"`}},
		"a field twice":           {configs{config(ours, class, head+`,"retain":"8h","retain":"9h"}`)}, []string{`duplicate field "retain"`}},
		"no duration":             {configs{config(ours, class, head+`,"retain":"soon"}`)}, []string{"the DeviceClass has", "soon"}},
		"a negative duration":     {configs{config(ours, class, head+`,"maxLifetime":"-1s"}`)}, []string{"maxLifetime: -1s is not more than zero"}},
		"a duration of zero":      {configs{config(ours, class, head+`,"retain":"0s"}`)}, []string{"retain: 0s is not more than zero"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parameters.For(ours, test.configs, "space")
			if err == nil {
				t.Fatal("not refused")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
		})
	}
}

func FuzzFor(f *testing.F) {
	for _, raw := range []string{`{}`, unknown, head + `}`, head + `,"maxLifetime":"8h","retain":"1ns"}`, head + `,"retain":1e9}`, `[`, `null`, ``} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parameters.For(ours, configs{config(ours, class, raw)}, "space")
		if err != nil && !reflect.DeepEqual(got, parameters.Effective{}) {
			t.Errorf("an error and %+v", got)
		}
		if got.MaxLifetime < 0 || got.Retain < 0 {
			t.Errorf("negative: %+v", got)
		}
	})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// fieldPaths returns the paths of all fields of a type, and of the types of this package in it.
func fieldPaths(of reflect.Type, prefix string) []string {
	var paths []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		paths = append(paths, prefix+name)
		if inner := of.Field(i).Type; inner.Kind() == reflect.Pointer && inner.Elem().PkgPath() == of.PkgPath() {
			paths = append(paths, fieldPaths(inner.Elem(), prefix+name+".")...)
		}
	}
	return paths
}

func TestConfigs_areDocumented(t *testing.T) {
	class := fieldPaths(reflect.TypeFor[spaceapi.SpaceClassConfig](), "")
	claim := fieldPaths(reflect.TypeFor[spaceapi.SpaceClaimConfig](), "")
	// A class has the ResourceQuotaSpec of Kubernetes.
	class = append(class, "resourceQuota.hard")
	page := readDoc(t, "parameters.md")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-zA-Z.]+)` \\| .* \\| (.*) \\| (.*) \\|$").FindAllStringSubmatch(page, -1) {
		for i, fields := range [][]string{class, claim} {
			if has, documented := slices.Contains(fields, row[1]), row[2+i] != "no"; has != documented {
				t.Errorf("docs/parameters.md, field %s: the column of the %s is %q", row[1], []string{"class", "claim"}[i], row[2+i])
			}
		}
	}
	for _, field := range slices.Concat(class, claim) {
		if strings.Count(page, "\n| `"+field+"` | ") != 1 {
			t.Errorf("docs/parameters.md must have one row of the field %s", field)
		}
	}
	for _, reserved := range spaceapi.ReservedMountPaths() {
		if !strings.Contains(page, "| `"+strings.Join(reserved.Paths, "`, `")+"` | "+map[bool]string{true: "reserved", false: "allowed"}[reserved.Below]+" |") {
			t.Errorf("docs/parameters.md has no row of the directories %q", reserved.Paths)
		}
	}
}

// The claim on the page uses the class on the page.
func TestConfigs_documentedExamplesAreValid(t *testing.T) {
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)\n```").FindAllStringSubmatch(readDoc(t, "parameters.md"), -1)
	if len(examples) != 2 {
		t.Fatalf("the page has %d examples", len(examples))
	}
	var class resourceapi.DeviceClass
	var claim resourceapi.ResourceClaim
	for i, object := range []any{&class, &claim} {
		if err := yaml.UnmarshalStrict([]byte(examples[i][1]), object); err != nil {
			t.Fatalf("%v\n%s", err, examples[i][1])
		}
	}
	var result allocation.Result
	result.Request = "space"
	a := &allocation.Allocation{Results: []allocation.Result{result}, Configs: []resourceapi.DeviceAllocationConfiguration{
		{Source: resourceapi.AllocationConfigSourceClass, DeviceConfiguration: class.Spec.Config[0].DeviceConfiguration},
		{Source: resourceapi.AllocationConfigSourceClaim, Requests: claim.Spec.Devices.Config[0].Requests, DeviceConfiguration: claim.Spec.Devices.Config[0].DeviceConfiguration},
	}}
	got, err := config.Defaults{Driver: spaceapi.DefaultDriverName}.Resolve(a, result)
	if err != nil || !slices.Equal(got.ClusterRoles, []string{"view"}) || got.NamespacePrefix != "ci-" {
		t.Errorf("got %+v, error %v", got, err)
	}
}

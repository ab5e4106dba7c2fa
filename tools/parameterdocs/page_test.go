// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
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

const root = "../../"

func TestThePageIsUpToDate(t *testing.T) {
	want, err := generate(root+classSource, root+claimSource)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(root + page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error(page + " is not what the comments say: run make generate")
	}
}

func TestEachFieldIsOnThePage(t *testing.T) {
	text, err := generate(root+classSource, root+claimSource)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []reflect.Type{reflect.TypeFor[spaceapi.SpaceClassConfig](), reflect.TypeFor[spaceapi.SpaceClaimConfig]()} {
		for i := range kind.NumField() {
			name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
			if kind.Field(i).Anonymous {
				continue
			}
			if !bytes.Contains(text, []byte("\n### "+kind.Name()+": `"+name+"`\n")) {
				t.Errorf("%s has no %s", kind.Name(), name)
			}
		}
	}
}

// The claim of the examples is of the class of the examples.
func TestTheExamplesAreAccepted(t *testing.T) {
	page, err := os.ReadFile(root + page)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)\n```").FindAllSubmatch(page, -1)
	if len(examples) != 2 {
		t.Fatalf("there are %d examples", len(examples))
	}
	var class resourceapi.DeviceClass
	var claim resourceapi.ResourceClaim
	for i, object := range []any{&class, &claim} {
		if err := yaml.UnmarshalStrict(examples[i][1], object); err != nil {
			t.Fatalf("%v\n%s", err, examples[i][1])
		}
	}
	configs := []resourceapi.DeviceAllocationConfiguration{
		{Source: resourceapi.AllocationConfigSourceClass, DeviceConfiguration: class.Spec.Config[0].DeviceConfiguration},
		{Source: resourceapi.AllocationConfigSourceClaim, Requests: claim.Spec.Devices.Config[0].Requests, DeviceConfiguration: claim.Spec.Devices.Config[0].DeviceConfiguration},
	}
	result := allocation.Result{Request: "space"}
	a := &allocation.Allocation{Configs: configs, Results: []allocation.Result{result}}
	got, err := config.Defaults{Driver: spaceapi.DefaultDriverName}.Resolve(a, result)
	if err != nil || !slices.Equal(got.ClusterRoles, []string{"view"}) || got.NamespacePrefix != "ci-" {
		t.Errorf("got %+v, error %v", got, err)
	}
}

func TestAFieldThatIsNotDescribedIsAnError(t *testing.T) {
	text, err := os.ReadFile(root + classSource)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ from, to, want string }{
		"no bounds":       {"\t// Bounds: the name of a namespace.\n", "", "type CopyFrom, field Namespace: the comment has no bounds"},
		"no default":      {"\t// Default: none, it is required.\n", "", "type Retention, field Period: the comment does not end with"},
		"an unknown type": {"Exclusive bool ", "Exclusive int ", "field Exclusive: the page has no words for the type int"},
		"no example":      {"// Example:\n", "//\n", "type SpaceClassConfig: the comment has no example"},
		"no Go":           {"package", "pack", "parse the types"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := filepath.Join(t.TempDir(), "types.go")
			if err := os.WriteFile(changed, bytes.Replace(text, []byte(test.from), []byte(test.to), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := generate(changed, root+claimSource); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// plugin is krew's Plugin, as far as krew needs it.
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string `json:"version"`
		Homepage         string `json:"homepage"`
		ShortDescription string `json:"shortDescription"`
		Description      string `json:"description"`
		Platforms        []struct {
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			URI    string `json:"uri"`
			SHA256 string `json:"sha256"`
			Bin    string `json:"bin"`
			Files  []struct {
				From string `json:"from"`
				To   string `json:"to"`
			} `json:"files"`
		} `json:"platforms"`
	} `json:"spec"`
}

func TestTheManifestForKrewIsWhole(t *testing.T) {
	raw, err := os.ReadFile("../../../deployments/krew/space.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(raw, &p); err != nil {
		t.Fatalf("the manifest is not as krew wants it: %v", err)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "space" {
		t.Errorf("it is %s, %s, of %q", p.APIVersion, p.Kind, p.Metadata.Name)
	}
	if !regexp.MustCompile(`^v\d+\.\d+\.\d+$`).MatchString(p.Spec.Version) || p.Spec.ShortDescription == "" || p.Spec.Description == "" || !strings.HasPrefix(p.Spec.Homepage, "https://") {
		t.Errorf("version, descriptions or homepage are not as they should be: %+v", p.Spec)
	}
	if len(p.Spec.Platforms) == 0 {
		t.Error("it has no platforms")
	}
	for _, platform := range p.Spec.Platforms {
		if platform.Selector.MatchLabels["os"] == "" || platform.Selector.MatchLabels["arch"] == "" || platform.Bin != "kubectl-space" ||
			!strings.Contains(platform.URI, p.Spec.Version) || !regexp.MustCompile("^[0-9a-f]{64}$").MatchString(platform.SHA256) || len(platform.Files) == 0 {
			t.Errorf("a platform is not as it should be: %+v", platform)
		}
	}
}

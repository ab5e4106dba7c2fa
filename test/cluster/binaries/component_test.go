// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"strings"
	"testing"
)

// Every component's go.mod has to pin what the table has.
func TestReadModule_findsEachComponent(t *testing.T) {
	for _, c := range components() {
		if err := c.readModule("../components"); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(c.version, "v") {
			t.Errorf("%s has version %q", c.dir, c.version)
		}
	}
}

func TestKubernetesFlags_stampTheVersion(t *testing.T) {
	got := kubernetesFlags("v1.37.1")
	for _, want := range []string{"version.gitVersion=v1.37.1", "version.gitMajor=1", "version.gitMinor=37"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

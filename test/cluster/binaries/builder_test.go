// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// TestLocate_findsWhatHasToBeBuilt also checks that each component's go.mod requires its module.
func TestLocate_findsWhatHasToBeBuilt(t *testing.T) {
	b := &Builder{Module: "..", Dir: t.TempDir()}
	paths, jobs, err := b.locate(All())
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != len(All()) || len(jobs) != len(components("")) {
		t.Errorf("an empty directory lacks %d components, and programs %v", len(jobs), paths)
	}
	if err := os.MkdirAll(filepath.Dir(paths["kubectl"]), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths["kubectl"], nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, jobs, err = b.locate([]string{"ctr", "kubectl", "kubelet"}); err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, j := range jobs {
		for _, pkg := range j.missing {
			missing = append(missing, path.Base(pkg))
		}
	}
	if got := strings.Join(missing, " "); got != "kubelet ctr" {
		t.Errorf("missing are %q, want kubelet and ctr", got)
	}
}

func TestLocate_findsOldVersionsOfKubernetes(t *testing.T) {
	modules, err := filepath.Glob("../components/kubernetes-*")
	if err != nil || len(modules) == 0 {
		t.Fatalf("no old versions (error: %v)", err)
	}
	for _, module := range modules {
		_, version, _ := strings.Cut(filepath.Base(module), "-")
		b := &Builder{Module: "..", Dir: t.TempDir(), Kubernetes: version}
		paths, _, err := b.locate(All())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(paths["kubelet"], "-v"+version+"-") {
			t.Errorf("Kubernetes %s is in %s", version, paths["kubelet"])
		}
	}
}

// If a key did not change with a version, the builder would keep old programs.
func TestKey_changesWithAllThatProgramsDependOn(t *testing.T) {
	module := t.TempDir()
	dir := filepath.Join(module, "components", "etcd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &Builder{Module: module}
	keys := map[string]string{}
	add := func(what, content, ldflags string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "go.sum"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		key, err := b.key(job{component: component{dir: "etcd"}, ldflags: ldflags})
		if err != nil {
			t.Fatal(err)
		}
		if other := keys[key]; other != "" {
			t.Errorf("%s has the same key as %s", what, other)
		}
		keys[key] = what
	}
	add("first", "a", "-s")
	add("other dependencies", "b", "-s")
	add("other flags", "a", "-w")
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMissing_isWhatHasToBeBuilt(t *testing.T) {
	b := &Builder{Module: "..", Dir: t.TempDir(), Log: t.Logf}
	paths, missing, err := b.locate(t.Context(), []string{"ctr", "kubectl"})
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 2 {
		t.Fatalf("an empty folder lacks %d components, want 2", len(missing))
	}
	if err := os.MkdirAll(filepath.Dir(paths["kubectl"]), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths["kubectl"], nil, 0o755); err != nil {
		t.Fatal(err)
	}
	names, err := b.Missing(t.Context(), "ctr", "kubectl", "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, " "); got != "kubelet ctr" {
		t.Errorf("missing are %q, want kubelet and ctr", got)
	}
	if _, err := b.Missing(t.Context(), "kubeadm"); err == nil || !strings.Contains(err.Error(), "kubeadm") {
		t.Errorf("a program that there isn't: got %v", err)
	}
}

// A key that didn't change with a version would keep old programs.
func TestKey_changesWithAllThatProgramsDependOn(t *testing.T) {
	module := t.TempDir()
	dir := filepath.Join(module, "components", "etcd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := &Builder{Module: module}
	keys := map[string]string{}
	add := func(what, content, goVersion string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "go.sum"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		key, err := b.key(&component{dir: "etcd", version: "v1"}, goVersion)
		if err != nil {
			t.Fatal(err)
		}
		if other := keys[key]; other != "" {
			t.Errorf("%s has the same key as %s", what, other)
		}
		keys[key] = what
	}
	add("first", "a", "go1")
	add("other dependencies", "b", "go1")
	add("other Go", "a", "go2")
}

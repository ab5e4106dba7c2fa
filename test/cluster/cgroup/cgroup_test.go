// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCreate_delegatesControllers uses a directory instead of a hierarchy.
func TestCreate_delegatesControllers(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "cgroup.controllers"), "cpu memory\n")
	write(t, filepath.Join(root, "cgroup.subtree_control"), "")
	if err := create(root, "/cluster/node"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "cluster", "node")); err != nil {
		t.Error(err)
	}
	if got := read(t, filepath.Join(root, "cgroup.subtree_control")); got != "+memory" {
		t.Errorf("the last controller written is %q, want +memory", got)
	}
}

func TestInheritCPUSet_setsEmptyFiles(t *testing.T) {
	parent, child := t.TempDir(), t.TempDir()
	write(t, filepath.Join(parent, "cpuset.cpus"), "0-1\n")
	write(t, filepath.Join(parent, "cpuset.mems"), "0\n")
	write(t, filepath.Join(child, "cpuset.cpus"), "\n")
	write(t, filepath.Join(child, "cpuset.mems"), "1\n")
	if err := inheritCPUSet(parent, child); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(child, "cpuset.cpus")); got != "0-1\n" {
		t.Errorf("empty cpus: got %q, want the parent's", got)
	}
	if got := read(t, filepath.Join(child, "cpuset.mems")); got != "1\n" {
		t.Errorf("mems: got %q, want the existing value", got)
	}
}

func TestRemoveTree_removesNestedGroups(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cluster")
	if err := os.MkdirAll(filepath.Join(root, "node", "kubepods"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, nothing exists
		if err := removeTree(root); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("the group still exists (error: %v)", err)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

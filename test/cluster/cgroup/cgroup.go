// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cgroup creates, joins and removes control groups in every hierarchy
// that the machine has mounted, of cgroup v1 and v2 alike. It never mounts or
// unmounts one.
package cgroup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Hierarchy is one mounted tree of control groups.
type Hierarchy struct {
	Path string
	// Unified says that it's a tree of cgroup v2.
	Unified bool
}

// Hierarchies returns the mounted hierarchies.
func Hierarchies() ([]Hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("finding cgroup hierarchies: %w", err)
	}
	defer f.Close()
	return parseMountInfo(f)
}

// parseMountInfo reads the format of proc_pid_mountinfo(5).
func parseMountInfo(r io.Reader) ([]Hierarchy, error) {
	var found []Hierarchy
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		kind, _, _ := strings.Cut(after, " ")
		if kind != "cgroup" && kind != "cgroup2" {
			continue
		}
		h := Hierarchy{Path: fields[4], Unified: kind == "cgroup2"}
		if !slices.Contains(found, h) {
			found = append(found, h)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("finding cgroup hierarchies: %w", err)
	}
	return found, nil
}

// Create makes a control group, and its parents, in every hierarchy, so that
// processes can join it and all controllers work in it.
func Create(path string) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := h.create(path); err != nil {
			return err
		}
	}
	return nil
}

func (h Hierarchy) create(path string) error {
	dir := h.Path
	for _, element := range strings.Split(strings.Trim(path, "/"), "/") {
		if err := h.delegate(dir); err != nil {
			return err
		}
		parent := dir
		dir = filepath.Join(dir, element)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("creating cgroup %s: %w", dir, err)
		}
		if err := inheritCPUSet(parent, dir); err != nil {
			return err
		}
	}
	return nil
}

// delegate makes a v2 group's controllers available to its children.
func (h Hierarchy) delegate(dir string) error {
	if !h.Unified {
		return nil
	}
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("reading the controllers of cgroup %s: %w", dir, err)
	}
	for _, c := range strings.Fields(string(controllers)) {
		// One at a time: one that the machine refuses must not keep the
		// others away. The kubelet says which ones it misses.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	return nil
}

// inheritCPUSet fills what v1's cpuset leaves empty in a new group: no process
// may join before.
func inheritCPUSet(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		current, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(bytes.TrimSpace(current)) > 0 {
			continue // another controller, or set already
		}
		value, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil || len(bytes.TrimSpace(value)) == 0 {
			continue // cgroup v2: empty means inherited
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
			return fmt.Errorf("setting %s of cgroup %s: %w", name, dir, err)
		}
	}
	return nil
}

// Join moves the calling process into a group of every hierarchy.
func Join(path string) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		file := filepath.Join(h.Path, path, "cgroup.procs")
		if err := os.WriteFile(file, []byte("0"), 0); err != nil {
			return fmt.Errorf("joining cgroup %s: %w", filepath.Dir(file), err)
		}
	}
	return nil
}

// Remove removes a group and everything below it from every hierarchy. No
// process may be in it. A group that isn't there is no error.
func Remove(path string) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := removeTree(filepath.Join(h.Path, path)); err != nil {
			return err
		}
	}
	return nil
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing cgroup %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	// A group is busy until the kernel has released its dead processes.
	err = wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		err := syscall.Rmdir(dir)
		if errors.Is(err, syscall.EBUSY) {
			return false, nil
		}
		return true, err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing cgroup %s: %w", dir, err)
	}
	return nil
}

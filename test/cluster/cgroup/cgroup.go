// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cgroup creates and removes control groups in all mounted hierarchies of cgroup v1 or v2, and
// runs commands in them. It never mounts or unmounts a hierarchy.
package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Hierarchies returns the directories of the writable hierarchies: that of cgroup v2, or those of v1 and
// of systemd. If there is none, the error contains a command that mounts one.
func Hierarchies() ([]string, error) {
	for _, pattern := range []string{"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/*/cgroup.procs"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("find cgroup hierarchies: %w", err)
		}
		var found []string
		for _, file := range files {
			if unix.Access(file, unix.W_OK) == nil {
				found = append(found, filepath.Dir(file))
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, errors.New("no writable cgroup hierarchy is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
}

// Create creates a control group, and its parents, in every hierarchy, with all controllers.
func Create(path string) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := create(h, path); err != nil {
			return err
		}
	}
	return nil
}

func create(hierarchy, path string) error {
	dir := hierarchy
	for _, element := range strings.Split(strings.Trim(path, "/"), "/") {
		delegate(dir)
		parent := dir
		dir = filepath.Join(dir, element)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("create cgroup %s: %w", dir, err)
		}
		if err := inheritCPUSet(parent, dir); err != nil {
			return err
		}
	}
	return nil
}

// delegate makes a v2 group's controllers available to its children.
func delegate(dir string) {
	controllers, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers")) // v1 has no such file
	for _, c := range strings.Fields(string(controllers)) {
		// One at a time, because some machines reject a controller. The kubelet reports missing ones.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

// inheritCPUSet sets the CPU set of a new group in cgroup v1, without which no process can join it.
func inheritCPUSet(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		current, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(bytes.TrimSpace(current)) > 0 {
			continue // another controller, or already set
		}
		value, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil || len(bytes.TrimSpace(value)) == 0 {
			continue // cgroup v2: empty means inherited
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
			return fmt.Errorf("set %s of cgroup %s: %w", name, dir, err)
		}
	}
	return nil
}

// Command returns a command that joins a group in every hierarchy, and then runs the program.
func Command(path string, argv ...string) (*exec.Cmd, error) {
	hierarchies, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	script := "set -e; "
	for _, h := range hierarchies {
		script += "echo 0 >" + filepath.Join(h, path, "cgroup.procs") + "; "
	}
	return exec.Command("sh", append([]string{"-c", script + `exec "$@"`, "sh"}, argv...)...), nil
}

// Remove removes a group and everything below it from every hierarchy. All of its processes must be
// exiting. It is not an error if the group does not exist.
func Remove(path string) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := removeTree(filepath.Join(h, path)); err != nil {
			return err
		}
	}
	return nil
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list cgroup %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	// A group is busy until the kernel has released its processes.
	err = wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, 2*time.Minute, true, func(context.Context) (bool, error) {
		err := syscall.Rmdir(dir)
		if errors.Is(err, syscall.EBUSY) {
			return false, nil
		}
		return true, err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

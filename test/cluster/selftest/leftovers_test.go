// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// leftovers lists what on this machine bears the name of a cluster.
func leftovers(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	found = append(found, processes(t, name)...)
	found = append(found, mounts(t, name)...)
	for _, dir := range []string{"/run/space-cluster", "/var/lib/space-cluster"} {
		matches, err := filepath.Glob(filepath.Join(dir, name+"*"))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(entry.Name(), name) {
			found = append(found, path)
		}
		return nil // other groups may come and go
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// processes are those whose command line has the name in it, but this one.
func processes(t *testing.T, name string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		cmdline := strings.ReplaceAll(string(data), "\x00", " ")
		if strings.Contains(cmdline, name) {
			found = append(found, file+": "+cmdline)
		}
	}
	return found
}

func mounts(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var found []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.Contains(lines.Text(), name) {
			found = append(found, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// usualPlaces are where a node of its own machine would keep things; here they
// have to stay as they are. The paths that exist are returned.
func usualPlaces(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, path := range []string{
		"/etc/cni", "/etc/kubernetes", "/opt/cni", "/opt/containerd", "/run/cni-ipam", "/run/containerd", "/run/netns",
		"/usr/libexec/kubernetes", "/var/lib/cni", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet",
		"/var/log/containers", "/var/log/pods", "/var/run/cdi", "/var/run/kubernetes",
	} {
		if _, err := os.Lstat(path); err == nil {
			found[path] = true
		}
	}
	return found
}

// links are the names of the machine's network interfaces.
func links(t *testing.T) map[string]bool {
	t.Helper()
	all, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, l := range all {
		names[l.Attrs().Name] = true
	}
	return names
}

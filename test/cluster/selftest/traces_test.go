// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

// usualPlaces are directories that a node on its own machine uses. A host must not use those of this
// machine.
var usualPlaces = []string{
	"/etc/cni", "/etc/kubernetes", "/opt/cni", "/opt/containerd", "/run/cni-ipam", "/run/containerd", "/run/netns",
	"/usr/libexec/kubernetes", "/var/lib/cni", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet",
	"/var/log/containers", "/var/log/pods", "/var/run/cdi", "/var/run/kubernetes",
}

// traces returns the files, processes and interfaces on this machine with the cluster's name, and those
// that any cluster could have created.
func traces(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range append(usualPlaces, "/run/space-cluster/"+name+"*", "/var/lib/space-cluster/"+name+"*") {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(processes, "/proc/self/mountinfo") {
		data, _ := os.ReadFile(file) // the process may have ended
		for line := range strings.Lines(strings.ReplaceAll(string(data), "\x00", " ")) {
			if strings.Contains(line, name) {
				found = append(found, file+": "+line)
			}
		}
	}
	// Other processes may create and remove groups meanwhile.
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(entry.Name(), name) {
			found = append(found, path)
		}
		return nil
	})
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		// Other clusters may be created meanwhile.
		if n := link.Attrs().Name; n == network.MachineInterface(name) || !strings.HasPrefix(n, network.MachinePrefix) {
			found = append(found, "interface "+n)
		}
	}
	return found
}

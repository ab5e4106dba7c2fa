// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"path/filepath"
	"strings"
)

// Paths inside a host. Its /var is a directory of its own, so they are the
// usual ones and yet not the machine's.
const (
	hostPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	hostDir       = "/var/lib/space-cluster"
	hostPKI       = hostDir + "/pki"
	hostBin       = hostDir + "/bin"
	hostCNI       = hostDir + "/cni"
	hostLogs      = "/var/log"
	containerdURL = "unix:///run/containerd/containerd.sock"
)

// hostVar is where a host's /var is on the machine.
func hostVar(cluster, host string) string {
	return filepath.Join(dataDir(cluster), host, "var")
}

// onMachine translates a path below a host's /var to the machine's.
func onMachine(cluster, host, path string) string {
	return filepath.Join(hostVar(cluster, host), strings.TrimPrefix(path, "/var/"))
}

// cgroupOf is the group that a host's pods are below. Its processes are in a
// group beside them.
func cgroupOf(cluster, host string) string {
	return cgroupRoot(cluster) + "/" + host
}

func cgroupRoot(cluster string) string {
	return "/space-cluster-" + cluster
}

// inHost translates the path of a program to what a host sees.
func inHost(binDir, program string) string {
	rel, err := filepath.Rel(binDir, program)
	if err != nil {
		// Both are absolute: the builder put one below the other.
		return program
	}
	return filepath.Join(hostBin, rel)
}

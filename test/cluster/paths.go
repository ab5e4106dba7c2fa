// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"path/filepath"
	"strings"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
)

// Paths in a host, which has its own /var.
const (
	hostDir = "/var/lib/space-cluster"
	hostPKI = hostDir + "/pki"
	// hostBin has links to the cluster's programs, which are in directories for versions.
	hostBin  = hostDir + "/bin"
	hostPath = hostBin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func dataDir(cluster string) string { return filepath.Join(dataRoot, cluster) }

// dir returns the directory of the host's files on the machine.
func (h *Host) dir() string { return filepath.Join(dataDir(h.cluster.rec.Name), h.name) }

// onMachine returns the path on the machine for a path below the host's /var.
func (h *Host) onMachine(path string) string { return filepath.Join(h.dir(), path) }

// LogFile returns the path on the machine of a process's log.
func (h *Host) LogFile(process string) string { return h.onMachine("/var/log/" + process + ".log") }

// kubeconfigOf returns the path in a host of a component's kubeconfig.
func kubeconfigOf(component string) string { return filepath.Join(hostDir, component+".kubeconfig") }

// cgroup returns the cgroup of the host, which contains one for pods and one for other processes.
func (h *Host) cgroup() string { return cgroupRoot(h.cluster.rec.Name) + "/" + h.name }

func cgroupRoot(cluster string) string { return "/space-cluster-" + cluster }

// inHost returns the path in a host for the path of a program on the machine.
func (c *Cluster) inHost(program string) string {
	return filepath.Join(hostinit.ProgramsAt, strings.TrimPrefix(program, c.rec.binDir()))
}

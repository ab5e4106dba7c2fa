// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"path/filepath"
	"strings"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
)

// Paths inside a host. Its /var is a directory of its own, so they are the
// usual ones and yet not the machine's.
const (
	hostDir = "/var/lib/space-cluster"
	hostPKI = hostDir + "/pki"
	// hostBin has links to the cluster's programs, which are in folders for versions.
	hostBin  = hostDir + "/bin"
	hostPath = hostBin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func dataDir(cluster string) string { return filepath.Join(dataRoot, cluster) }

// dir has all of the host's files on the machine.
func (h *Host) dir() string { return filepath.Join(dataDir(h.cluster.rec.Name), h.name) }

// onMachine translates a path below the host's /var to the machine's.
func (h *Host) onMachine(path string) string { return filepath.Join(h.dir(), path) }

// LogFile returns where, on the machine, a process's output is.
func (h *Host) LogFile(process string) string { return h.onMachine("/var/log/" + process + ".log") }

// kubeconfigOf is where a host's component finds its kubeconfig.
func kubeconfigOf(component string) string { return filepath.Join(hostDir, component+".kubeconfig") }

// cgroup is the group that the host's pods are below. Its processes are in a group
// beside them.
func (h *Host) cgroup() string { return cgroupRoot(h.cluster.rec.Name) + "/" + h.name }

func cgroupRoot(cluster string) string { return "/space-cluster-" + cluster }

// inHost translates the path of a program to what a host sees.
func (c *Cluster) inHost(program string) string {
	return filepath.Join(hostinit.ProgramsAt, strings.TrimPrefix(program, c.rec.binDir()))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"

	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

// Host is the host of the control plane, or a node: a set of Linux namespaces.
type Host struct {
	cluster *Cluster
	name    string
	// number counts nodes from 1. The control plane has 0.
	number int
}

// Name returns the host's name. For a node, it is also the name of its Node object.
func (h *Host) Name() string { return h.name }

// Address returns the host's IP address.
func (h *Host) Address() string { return h.address().String() }

func (h *Host) address() netip.Addr {
	if h.number == 0 {
		return h.cluster.rec.subnet().ControlPlane()
	}
	return h.cluster.rec.subnet().Node(h.number)
}

// Command returns a command that runs inside the host's namespaces.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	pid, err := h.pid()
	argv = inside(pid, argv...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = hostEnv()
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

// inside returns the arguments of a command that runs inside the namespaces of a process.
func inside(pid int, argv ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}, argv...)
}

func hostEnv() []string { return []string{"PATH=" + hostPath, "HOME=/root", "TERM=dumb"} }

// Disconnect sets the node's link to the rest of the cluster down.
func (h *Host) Disconnect(_ context.Context) error { return h.setLink(false) }

// Connect sets the node's link up again. Packets may be lost for one or two seconds, until the kernel
// retries to resolve neighbors.
func (h *Host) Connect(_ context.Context) error { return h.setLink(true) }

func (h *Host) setLink(up bool) error {
	if h.number == 0 {
		return fmt.Errorf("host %s is not a node: its links are those of the nodes", h.name)
	}
	pid, err := h.cluster.controlPlane.pid()
	if err != nil {
		return err
	}
	if err := network.SetNodeLink(pid, h.number, up); err != nil {
		return fmt.Errorf("host %s: %w", h.name, err)
	}
	return nil
}

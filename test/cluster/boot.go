// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

// boot creates the host's namespaces and connects them. It starts no process
// but the init.
func (h *Host) boot(ctx context.Context) error {
	rec := h.cluster.rec
	if err := cgroup.Create(h.rec.Spec.Cgroup); err != nil {
		return fmt.Errorf("booting host %s: %w", h.Name(), err)
	}
	log := filepath.Join(dataDir(rec.Name), h.Name(), "init.log")
	pid, err := startInit(ctx, rec.Binaries[cliProgram], specFile(rec.Name, h.Name()), h.rec.Spec.Hostname, h.client(), log)
	if err != nil {
		return fmt.Errorf("booting host %s: %w", h.Name(), err)
	}
	if err := h.connect(pid); err != nil {
		return fmt.Errorf("booting host %s: %w", h.Name(), err)
	}
	return nil
}

// cliProgram is the command-line tool, which is also the hosts' init.
const cliProgram = "space-cluster"

func (h *Host) connect(pid int) error {
	c := h.cluster
	subnet := c.rec.subnet()
	if h.rec.Role == roleControlPlane {
		return network.ConnectMachine(c.rec.Name, pid, subnet)
	}
	controlPlane, err := c.controlPlane.pid()
	if err != nil {
		return err
	}
	return network.ConnectNode(controlPlane, pid, h.rec.Number, subnet)
}

// Reboot kills every process of the host, containers too, and boots it again:
// /run is empty, /var is as it was.
func (h *Host) Reboot(ctx context.Context) error {
	pid, err := h.pid()
	if err != nil && !errors.Is(err, errHostDown) {
		return err
	}
	if err == nil {
		if err := killInit(ctx, pid); err != nil {
			return fmt.Errorf("rebooting host %s: %w", h.Name(), err)
		}
	}
	if err := cgroup.Remove(cgroupOf(h.cluster.rec.Name, h.Name())); err != nil {
		return fmt.Errorf("rebooting host %s: %w", h.Name(), err)
	}
	if err := h.boot(ctx); err != nil {
		return err
	}
	if h.rec.Role == roleControlPlane {
		// The bridge is gone with the control plane's namespaces, and all links with it.
		for _, n := range h.cluster.nodes {
			pid, err := n.pid()
			if errors.Is(err, errHostDown) {
				continue
			}
			if err != nil {
				return err
			}
			if err := n.connect(pid); err != nil {
				return err
			}
		}
	}
	for _, p := range h.rec.Processes {
		if err := h.Start(ctx, p.Name); err != nil {
			return fmt.Errorf("rebooting: %w", err)
		}
	}
	return nil
}

// WipeRun leaves a node's /run as it is after a reboot: it kills the kubelet,
// containerd and all containers, empties /run, and starts both again.
func (h *Host) WipeRun(ctx context.Context) error {
	if h.rec.Role != roleNode {
		return fmt.Errorf("host %s is no node", h.Name())
	}
	for _, p := range []string{kubelet, containerd} {
		if err := h.Kill(ctx, p); err != nil {
			return err
		}
	}
	if err := h.client().WipeRun(ctx); err != nil {
		return fmt.Errorf("emptying /run of host %s: %w", h.Name(), err)
	}
	// A kubelet that starts spends seconds on each empty group that it finds.
	if err := cgroup.Remove(cgroupOf(h.cluster.rec.Name, h.Name()) + "/kubepods"); err != nil {
		return fmt.Errorf("removing the containers of host %s: %w", h.Name(), err)
	}
	for _, p := range []string{containerd, kubelet} {
		if err := h.Start(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

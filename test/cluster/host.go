// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

const startTimeout = 2 * time.Minute

// Host is the control plane's machine or a node: a set of namespaces.
type Host struct {
	cluster *Cluster
	rec     hostRecord
}

// Name returns the host's name, for a node that of its Node object.
func (h *Host) Name() string { return h.rec.Name }

// Address returns the host's IP address.
func (h *Host) Address() string { return h.rec.Address.String() }

// LogFile returns where, on the machine, a process's output is.
func (h *Host) LogFile(process string) string {
	return onMachine(h.cluster.rec.Name, h.rec.Name, filepath.Join(hostLogs, process+".log"))
}

// Kill ends a process with SIGKILL and waits until it is gone.
func (h *Host) Kill(ctx context.Context, process string) error {
	if _, err := h.process(process); err != nil {
		return err
	}
	if err := h.client().Kill(ctx, process); err != nil {
		return fmt.Errorf("killing %s on %s: %w", process, h.Name(), err)
	}
	return nil
}

// Start starts a process with the arguments that the cluster was created with
// and waits until it answers. A process that runs already is no error.
func (h *Host) Start(ctx context.Context, process string) error {
	p, err := h.process(process)
	if err != nil {
		return err
	}
	client := h.client()
	if err := client.Start(ctx, p); err != nil {
		return fmt.Errorf("host %s: %w", h.Name(), err)
	}
	what := fmt.Sprintf("%s on %s to answer (log: %s)", process, h.Name(), h.LogFile(process))
	return waitFor(ctx, startTimeout, what, func(ctx context.Context) error {
		all, err := client.List(ctx)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Name == process && !s.Running {
				return permanentError{fmt.Errorf("it ended: %s", s.Exit)}
			}
		}
		return client.Probe(ctx, p.Probe)
	})
}

// Command returns a command that runs inside the host's namespaces.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	pid, err := h.pid()
	args := []string{"--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, argv...)...)
	cmd.Env = []string{"PATH=" + h.path(), "HOME=/root", "TERM=dumb"}
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

// path finds the cluster's programs as well as the machine's.
func (h *Host) path() string {
	var dirs []string
	for _, program := range []string{"ctr", "kubectl"} {
		if binary := h.cluster.Binary(program); binary != "" {
			dirs = append(dirs, filepath.Dir(inHost(h.cluster.rec.BinDir, binary)))
		}
	}
	return strings.Join(append(dirs, hostPath), ":")
}

// Disconnect takes the node's link to the rest of the cluster down.
func (h *Host) Disconnect(_ context.Context) error { return h.setLink(false) }

// Connect brings the node's link up again. Packets may still be lost for a
// second or two, until the kernel asks again for neighbours that didn't answer.
func (h *Host) Connect(_ context.Context) error { return h.setLink(true) }

func (h *Host) setLink(up bool) error {
	if h.rec.Role != roleNode {
		return fmt.Errorf("host %s is no node: its links are those of the nodes", h.Name())
	}
	pid, err := h.cluster.controlPlane.pid()
	if err != nil {
		return err
	}
	if err := network.SetNodeLink(pid, h.rec.Number, up); err != nil {
		return fmt.Errorf("host %s: %w", h.Name(), err)
	}
	return nil
}

func (h *Host) client() hostinit.Client { return hostinit.Client{Socket: h.rec.Spec.Socket} }

// pid returns the host's process 1, by its number on the machine.
func (h *Host) pid() (int, error) {
	inits, err := findInits(h.cluster.rec.Name)
	if err != nil {
		return 0, err
	}
	pid := inits[specFile(h.cluster.rec.Name, h.rec.Name)]
	if pid == 0 {
		return 0, fmt.Errorf("host %s: %w", h.Name(), errHostDown)
	}
	return pid, nil
}

var errHostDown = errors.New("it isn't running")

func (h *Host) process(name string) (hostinit.Process, error) {
	var names []string
	for _, p := range h.rec.Processes {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return hostinit.Process{}, fmt.Errorf("host %s has no process %q, but %s", h.Name(), name, strings.Join(names, ", "))
}

// Processes returns the state of the processes that were started on the host.
func (h *Host) Processes(ctx context.Context) ([]hostinit.Status, error) {
	all, err := h.client().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name(), err)
	}
	return all, nil
}

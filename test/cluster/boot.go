// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

// cliProgram is the command line tool, which is also the init process of hosts.
const cliProgram = "space-cluster"

const newNamespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC

// boot creates the host's namespaces, connects them, and starts only the init process.
func (h *Host) boot(ctx context.Context) error {
	if err := cgroup.Create(h.cgroup() + "/system"); err != nil {
		return fmt.Errorf("boot host %s: %w", h.name, err)
	}
	rec := h.cluster.rec
	spec, err := json.Marshal(hostinit.Spec{Cluster: rec.Name, Host: h.name, Var: h.onMachine("/var"), Programs: rec.binDir()})
	if err != nil {
		return fmt.Errorf("boot host %s: %w", h.name, err)
	}
	argv := []string{rec.Binaries[cliProgram], hostinit.Subcommand, string(spec)}
	err = h.launch(ctx, "the init of host "+h.name, filepath.Join(h.dir(), "init.log"), newNamespaces, argv, func(context.Context) error {
		pid, err := h.pid()
		if err != nil {
			return err
		}
		_, err = os.Stat(fmt.Sprintf("/proc/%d/root%s", pid, hostinit.Ready))
		return err
	})
	if err != nil {
		return fmt.Errorf("boot host %s: %w", h.name, err)
	}
	return h.connect()
}

// findInits returns the PIDs of the init processes of a cluster's hosts, by the hosts' names.
func findInits(cluster string) (map[string]int, error) {
	found := map[string]int{}
	err := eachProcess(func(pid int, argv []string) {
		var spec hostinit.Spec
		if len(argv) == 3 && argv[1] == hostinit.Subcommand && json.Unmarshal([]byte(argv[2]), &spec) == nil && spec.Cluster == cluster {
			found[spec.Host] = pid
		}
	})
	return found, err
}

// pid returns the PID of the host's init process on the machine.
func (h *Host) pid() (int, error) {
	inits, err := findInits(h.cluster.rec.Name)
	if err == nil && inits[h.name] == 0 {
		err = errors.New("it is not running")
	}
	if err != nil {
		return 0, fmt.Errorf("host %s: %w", h.name, err)
	}
	return inits[h.name], nil
}

func (h *Host) connect() error {
	c := h.cluster
	controlPlane, err := c.controlPlane.pid()
	if err != nil {
		return err
	}
	if h.number == 0 {
		return network.ConnectMachine(c.rec.Name, controlPlane, c.rec.subnet())
	}
	node, err := h.pid()
	if err != nil {
		return err
	}
	return network.ConnectNode(controlPlane, node, h.number, c.rec.subnet())
}

// Reboot kills all processes of the host, including containers, and boots it again. /run is then
// empty, and /var is unchanged.
func (h *Host) Reboot(ctx context.Context) error {
	inits, err := findInits(h.cluster.rec.Name)
	if err != nil {
		return fmt.Errorf("reboot host %s: %w", h.name, err)
	}
	if pid := inits[h.name]; pid != 0 {
		if err := kill(ctx, pid); err != nil {
			return fmt.Errorf("reboot host %s: %w", h.name, err)
		}
	}
	if err := cgroup.Remove(h.cgroup()); err != nil {
		return fmt.Errorf("reboot host %s: %w", h.name, err)
	}
	if err := h.boot(ctx); err != nil {
		return err
	}
	if h.number == 0 {
		// The kernel removed the bridge with the control plane's namespaces, and with it all links.
		for _, n := range h.cluster.nodes {
			if inits[n.name] == 0 {
				continue
			}
			if err := n.connect(); err != nil {
				return err
			}
		}
	}
	return h.startAll(ctx)
}

// startAll starts the processes that are not running.
func (h *Host) startAll(ctx context.Context) error {
	for _, p := range h.processes() {
		if err := h.Start(ctx, p.name); err != nil {
			return err
		}
	}
	return nil
}

// WipeRun kills all processes and containers of a node, empties /run, as after a reboot, and restarts
// the processes.
func (h *Host) WipeRun(ctx context.Context) error {
	if h.number == 0 {
		return fmt.Errorf("host %s is not a node", h.name)
	}
	for _, p := range h.processes() {
		if err := h.Kill(ctx, p.name); err != nil {
			return err
		}
	}
	// The signal does not reach the init process and the shell itself. Containers share the new /run, as
	// they share /.
	script := "kill -KILL -1; umount --lazy /run && mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run && mkdir /run/lock"
	if out, err := h.Command(ctx, "sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("empty /run of host %s: %w: %s", h.name, err, out)
	}
	// When a kubelet starts, it spends seconds on each empty cgroup.
	if err := cgroup.Remove(h.cgroup() + "/kubepods"); err != nil {
		return fmt.Errorf("remove the containers of host %s: %w", h.name, err)
	}
	return h.startAll(ctx)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostinit is the first process of a host of the embedded cluster, and
// the client that talks to it.
//
// A host is a set of Linux namespaces. Its init is process 1 of the PID
// namespace: it prepares the host's mounts, reaps orphans, and starts and kills
// named processes on request. When it dies, the kernel kills everything in the
// PID namespace, so a host can't leave processes behind.
package hostinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/vishvananda/netlink"

	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
)

// Subcommand is the argument that makes the command-line tool a host's init.
const Subcommand = "host-init"

// Spec describes a host.
type Spec struct {
	Hostname string `json:"hostname"`
	// Socket is where the init listens, a path of the machine.
	Socket string `json:"socket"`
	// Var is the directory of the machine that is the host's /var.
	Var string `json:"var"`
	// Programs is a directory of the machine that the host sees, read-only, at
	// ProgramsAt, which is relative to /var.
	Programs   string `json:"programs"`
	ProgramsAt string `json:"programsAt"`
	// Cgroup is the cgroup that the init joins in every hierarchy.
	Cgroup string `json:"cgroup"`
}

// Run is the main function of a host's init. It must be process 1 of new mount,
// network, UTS, PID and IPC namespaces, and only returns when it can't go on.
func Run(specFile string) error {
	if os.Getpid() != 1 {
		return errors.New("this is started by the cluster itself, as process 1 of a host's namespaces")
	}
	// The init outlives the process that started it; the cluster ends it with SIGKILL.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)

	data, err := os.ReadFile(specFile)
	if err != nil {
		return fmt.Errorf("reading the host's specification: %w", err)
	}
	var spec Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return fmt.Errorf("reading the host's specification %s: %w", specFile, err)
	}

	// Before the mounts: the socket's directory is out of sight afterwards.
	listener, err := listen(spec.Socket)
	if err != nil {
		return err
	}
	if err := cgroup.Join(spec.Cgroup); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("setting the host name %s: %w", spec.Hostname, err)
	}
	if err := mountAll(spec); err != nil {
		return err
	}
	if err := prepareNetwork(); err != nil {
		return err
	}
	processes := newProcessTable()
	go processes.reap()
	return serve(listener, processes)
}

// listen binds the control socket. Clients may connect immediately: they are
// answered when the host is prepared.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the stale socket %s: %w", path, err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("protecting %s: %w", path, err)
	}
	return listener, nil
}

// prepareNetwork does what every host needs before it has a link.
func prepareNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting the loopback interface up: %w", err)
	}
	// This setting belongs to the network namespace, not to the machine.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("enabling IP forwarding in the host: %w", err)
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

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

// Run is the life of a host's init. It must be process 1 of new mount,
// network, UTS, PID and IPC namespaces, and only returns when it can't go on.
func Run(specFile string) error {
	if os.Getpid() != 1 {
		return errors.New("this is started by the cluster itself, as process 1 of a host's namespaces")
	}
	// The init outlives whoever started it; the cluster ends it with SIGKILL.
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
	table := newProcessTable()
	go table.reap()
	return serve(listener, table)
}

// listen binds the control socket. Clients may connect at once: they are
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

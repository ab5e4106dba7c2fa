// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostinit is the init process of a host of the embedded cluster.
//
// A host is a set of Linux namespaces. Its init process has PID 1 in the PID namespace. It prepares the
// host's mounts and its loopback interface, and then waits. When it exits, the kernel kills all other
// processes in the PID namespace.
package hostinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Subcommand is the argument that makes the command line tool a host's init process. The next argument
// is a Spec as JSON.
const Subcommand = "host-init"

// Ready is a file that exists in the host when it is prepared.
const Ready = "/run/host-ready"

// Spec describes a host. It also identifies the init process.
type Spec struct {
	Cluster string `json:"cluster"`
	// Host is the host's name.
	Host string `json:"host"`
	// Var is the directory of the machine that is the host's /var.
	Var string `json:"var"`
	// Programs is the directory of the machine that is mounted at ProgramsAt in the host.
	Programs string `json:"programs"`
}

// Run is the main function of a host's init process. It must have PID 1 in new mount, network, UTS, PID
// and IPC namespaces. It returns only after an error.
func Run(argument string) error {
	if os.Getpid() != 1 {
		return errors.New("this is started by the cluster itself, as process 1 of a host's namespaces")
	}
	var spec Spec
	if err := json.Unmarshal([]byte(argument), &spec); err != nil {
		return fmt.Errorf("read the host's specification: %w", err)
	}
	// The init process continues after the process that started it has exited, until SIGKILL.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	// The kernel reaps the children of a process that ignores this signal.
	signal.Ignore(syscall.SIGCHLD)

	if err := syscall.Sethostname([]byte(spec.Host)); err != nil {
		return fmt.Errorf("set the host name %s: %w", spec.Host, err)
	}
	if err := mountAll(spec); err != nil {
		return err
	}
	if err := prepareNetwork(); err != nil {
		return err
	}
	if err := os.WriteFile(Ready, nil, 0o600); err != nil {
		return fmt.Errorf("write the file of a prepared host: %w", err)
	}
	select {}
}

// prepareNetwork prepares the network of a host before it has a link.
func prepareNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set the loopback interface up: %w", err)
	}
	// This setting belongs to the network namespace, not to the machine.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("enable IP forwarding in the host: %w", err)
	}
	return nil
}

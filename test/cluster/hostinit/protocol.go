// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hostinit is the first process of a host of the embedded cluster, and
// the client that talks to it.
//
// A host is a set of Linux namespaces. Its init is process 1 of the PID
// namespace: it prepares the host's mounts, reaps what is orphaned, and starts
// and stops named processes on request. When it dies, the kernel kills
// everything in the PID namespace, so a host can't leave processes behind.
package hostinit

import (
	"syscall"
	"time"
)

// Subcommand is the argument that makes the command-line tool a host's init.
const Subcommand = "host-init"

// Mount is a directory of the machine that the host sees read-only.
type Mount struct {
	Source string `json:"source"`
	// Target is relative to the host's /var.
	Target string `json:"target"`
}

// Spec says what a host looks like.
type Spec struct {
	Hostname string `json:"hostname"`
	// Socket is where the init listens, a path of the machine.
	Socket string `json:"socket"`
	// Var is the directory of the machine that is the host's /var.
	Var    string  `json:"var"`
	Mounts []Mount `json:"mounts,omitempty"`
	// Cgroup is the cgroup that the init joins in every hierarchy.
	Cgroup string `json:"cgroup"`
}

// Process is something that the init starts.
type Process struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	// Log is the file, in the host, that output is appended to.
	Log string `json:"log"`
	// Probe is the URL, reachable in the host, that answers when the process
	// is up: http, https, or unix for a socket that accepts connections.
	Probe string `json:"probe,omitempty"`
}

// Status describes a process that was started.
type Status struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Running bool   `json:"running"`
	// Exit says how a process that isn't running ended.
	Exit string `json:"exit,omitempty"`
}

type operation string

const (
	opStart   operation = "start"
	opStop    operation = "stop"
	opKill    operation = "kill"
	opList    operation = "list"
	opProbe   operation = "probe"
	opWipeRun operation = "wipe-run"
)

// request and response are the JSON documents of one connection.
type request struct {
	Op      operation      `json:"op"`
	Name    string         `json:"name,omitempty"`
	Process *Process       `json:"process,omitempty"`
	Grace   time.Duration  `json:"grace,omitempty"`
	Signal  syscall.Signal `json:"signal,omitempty"`
	Wait    bool           `json:"wait,omitempty"`
	URL     string         `json:"url,omitempty"`
}

type response struct {
	Error     string   `json:"error,omitempty"`
	Processes []Status `json:"processes,omitempty"`
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Process describes a process to start.
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
	Running bool   `json:"running"`
	// Exit says how a process that isn't running ended.
	Exit string `json:"exit,omitempty"`
}

// process is one start of a named process.
type process struct {
	pid int
	// exited is closed when the process has been reaped; exit is set before.
	exited chan struct{}
	exit   string
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// processTable has the processes that the init started.
type processTable struct {
	mu     sync.Mutex
	byName map[string]*process
	byPID  map[int]*process
}

func newProcessTable() *processTable {
	return &processTable{byName: map[string]*process{}, byPID: map[int]*process{}}
}

// reap waits for every child, the adopted ones too. It is the only place that
// waits: os/exec would compete with it.
func (t *processTable) reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid == 0:
			<-children
		default:
			t.exited(pid, status)
		}
	}
}

func (t *processTable) exited(pid int, status syscall.WaitStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byPID[pid]
	if p == nil {
		return
	}
	delete(t.byPID, pid)
	if status.Signaled() {
		p.exit = status.Signal().String()
	} else {
		p.exit = "exit status " + strconv.Itoa(status.ExitStatus())
	}
	close(p.exited)
}

func (t *processTable) start(spec Process) error {
	// The lock is held until the process is in the table: it can't be reaped
	// before that.
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.byName[spec.Name]; p != nil && p.running() {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(spec.Log), 0o755); err != nil {
		return fmt.Errorf("starting %s: creating its log directory: %w", spec.Name, err)
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("starting %s: opening its log: %w", spec.Name, err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(spec.Argv[0], spec.Argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   spec.Env,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("starting %s (%s): %w", spec.Name, spec.Argv[0], err)
	}
	p := &process{pid: pid, exited: make(chan struct{})}
	t.byName[spec.Name], t.byPID[pid] = p, p
	return nil
}

// kill does nothing when no process of the name runs.
func (t *processTable) kill(name string) error {
	t.mu.Lock()
	p := t.byName[name]
	if p == nil || !p.running() {
		t.mu.Unlock()
		return nil
	}
	// Not reaped while the lock is held, so the PID is still this process.
	err := syscall.Kill(p.pid, syscall.SIGKILL)
	t.mu.Unlock()
	if err != nil {
		return fmt.Errorf("killing %s: %w", name, err)
	}
	<-p.exited
	return nil
}

func (t *processTable) list() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := []Status{} // jsonrpc takes null for an error
	for name, p := range t.byName {
		all = append(all, Status{Name: name, Running: p.running(), Exit: p.exit})
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// killOthers ends every process of the host that the table doesn't have, and
// returns when none is left.
func (t *processTable) killOthers() error {
	var others []int
	err := wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, time.Minute, true, func(context.Context) (done bool, err error) {
		if others, err = t.others(); err != nil {
			return false, err
		}
		for _, pid := range others {
			// It may be gone by now, and its number can't have been reused so soon.
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(others) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("killing processes %v: %w", others, err)
	}
	return nil
}

func (t *processTable) others() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing the host's processes: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || t.byPID[pid] != nil {
			continue
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

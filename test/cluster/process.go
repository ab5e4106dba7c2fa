// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

const (
	startTimeout = 2 * time.Minute
	probeTimeout = 20 * time.Second
)

// process is one of the built programs, which runs on a host.
type process struct {
	// name is also the name of the program.
	name string
	// probe is the URL on the host that shows that the process is ready: http, https, or unix for a
	// socket that accepts connections.
	probe string
	args  []string
}

// program returns the path that starts and identifies the process.
func (p process) program() string { return filepath.Join(hostBin, p.name) }

// processes returns the processes in the order in which they start.
func (h *Host) processes() []process {
	if h.number == 0 {
		return h.controlPlaneProcesses()
	}
	return h.nodeProcesses()
}

func (h *Host) process(name string) (process, error) {
	var names []string
	for _, p := range h.processes() {
		if p.name == name {
			return p, nil
		}
		names = append(names, p.name)
	}
	return process{}, fmt.Errorf("host %s has no process %q, but %s", h.name, name, strings.Join(names, ", "))
}

// Start starts a process with the arguments that the cluster was created with
// and waits until it answers. A process that runs already is no error.
func (h *Host) Start(ctx context.Context, name string) error {
	p, err := h.process(name)
	if err != nil {
		return err
	}
	return h.start(ctx, p)
}

func (h *Host) start(ctx context.Context, p process) error {
	init, running, err := h.find(p)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s on %s to answer", p.name, h.name)
	answers := func(ctx context.Context) error { return probe(ctx, init, p.probe) }
	if len(running) > 0 {
		return waitFor(ctx, startTimeout, what, answers)
	}
	return h.launch(ctx, what, h.LogFile(p.name), 0, inside(init, append([]string{p.program()}, p.args...)...), answers)
}

// Kill kills a process with SIGKILL, and waits until it exits. It is not an error if the process is not
// running.
func (h *Host) Kill(ctx context.Context, name string) error {
	p, err := h.process(name)
	if err != nil {
		return err
	}
	return h.kill(ctx, p)
}

func (h *Host) kill(ctx context.Context, p process) error {
	_, running, err := h.find(p)
	if err != nil {
		return err
	}
	for _, pid := range running {
		if err := kill(ctx, pid); err != nil {
			return fmt.Errorf("kill %s on %s: %w", p.name, h.name, err)
		}
	}
	return nil
}

// ProcessState contains whether a process of a host is running.
type ProcessState struct {
	Name    string
	Running bool
}

// Processes returns the states of the host's processes, in the order in which they start.
func (h *Host) Processes() ([]ProcessState, error) {
	var states []ProcessState
	for _, p := range h.processes() {
		_, pids, err := h.find(p)
		if err != nil {
			return nil, err
		}
		states = append(states, ProcessState{Name: p.name, Running: len(pids) > 0})
	}
	return states, nil
}

// launch starts a command in the cgroup of the host's processes, with its output in
// a log, and waits until it is up. It outlives this process.
func (h *Host) launch(ctx context.Context, what, logFile string, cloneFlags uintptr, argv []string, up func(context.Context) error) error {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("start a process of host %s: %w", h.name, err)
	}
	defer log.Close()
	// The host's processes must not inherit files that this process inherited, such as a lock. Go marks
	// files that it opens itself.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep open files from the processes of host %s: %w", h.name, err)
	}
	cmd, err := cgroup.Command(h.cgroup()+"/system", argv...)
	if err != nil {
		return err
	}
	cmd.Dir, cmd.Env = "/", hostEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: cloneFlags}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a process of host %s: %w", h.name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A caller that stays longer than the process must reap it.
	go func() {
		_ = cmd.Wait()
		cancel(errors.New("it exited: " + cmd.ProcessState.String()))
	}()
	return waitFor(ctx, startTimeout, what+" (log: "+logFile+")", up)
}

// find returns the PIDs on the machine of the host's init process and of a process. It searches the
// running processes: a record could be stale.
func (h *Host) find(p process) (init int, pids []int, err error) {
	if init, err = h.pid(); err != nil {
		return 0, nil, err
	}
	host, err := os.Readlink(namespaceOf(init))
	if err != nil {
		return 0, nil, fmt.Errorf("find %s on %s: %w", p.name, h.name, err)
	}
	err = eachProcess(func(pid int, argv []string) {
		if argv[0] != p.program() {
			return
		}
		if namespace, err := os.Readlink(namespaceOf(pid)); err == nil && namespace == host {
			pids = append(pids, pid)
		}
	})
	return init, pids, err
}

func namespaceOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/pid", pid) }

// eachProcess calls f with the PID and the arguments of each process of the machine. A process that has
// exited has a single, empty argument.
func eachProcess(f func(pid int, argv []string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		arguments, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		f(pid, strings.Split(strings.TrimSuffix(string(arguments), "\x00"), "\x00"))
	}
	return nil
}

// kill kills a process, and waits until it exits. If it is the init process of a host, the kernel first
// kills all other processes in its PID namespace.
func kill(ctx context.Context, pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(process) }()
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return waitFor(ctx, 2*time.Minute, fmt.Sprintf("process %d to exit", pid), func(context.Context) error {
		// The descriptor is readable when the process has exited, even if its parent does not reap it.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 0)
		if n == 0 && err == nil {
			err = errors.New("it is running")
		}
		return err
	})
}

// probe sends a request to a URL in the namespaces of a process.
func probe(ctx context.Context, pid int, target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return fmt.Errorf("probe %q: %w", target, err)
	}
	dialer := net.Dialer{Timeout: probeTimeout}
	if u.Scheme == "unix" {
		conn, err := dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/%d/root%s", pid, u.Path))
		if err != nil {
			return fmt.Errorf("probe %s: %w", target, err)
		}
		return conn.Close()
	}
	client := http.Client{Timeout: probeTimeout, Transport: &http.Transport{
		// The request stays on the host's loopback interface.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, kind, address string) (conn net.Conn, err error) {
			err = network.Inside(pid, func() error {
				conn, err = dialer.DialContext(ctx, kind, address)
				return err
			})
			return conn, err
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("probe %s: %w", target, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("probe %s: %w", target, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("probe %s: %s: %s", target, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
)

const namespaceFlags = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC

// startInit starts a host's init in namespaces of its own and returns its PID.
func startInit(ctx context.Context, binary, specFile, host string, client hostinit.Client, logFile string) (int, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, fmt.Errorf("opening the log of a host's init: %w", err)
	}
	defer log.Close()
	// Files that this process inherited, such as a lock, must not stay open for as
	// long as the host lives. Go's own files are marked already.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 0, fmt.Errorf("keeping open files from a host's init: %w", err)
	}
	// Not CommandContext: the host is to outlive the call.
	cmd := exec.Command(binary, hostinit.Subcommand, specFile)
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + hostPath}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaceFlags}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting a host's init: %w", err)
	}
	// A caller that stays longer than the host must reap it.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	err = waitFor(ctx, time.Minute, "the init of host "+host, func(ctx context.Context) error {
		select {
		case err := <-ended:
			return permanentError{fmt.Errorf("it ended: %w; see %s", err, logFile)}
		default:
		}
		_, err := client.List(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// findInits returns the PIDs of a cluster's inits by the specification file
// that they were started with. The command line is the only record of them:
// it can't be out of date.
func findInits(cluster string) (map[string]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("looking for hosts: %w", err)
	}
	found := map[string]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it ended
		}
		args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
		if len(args) == 3 && args[1] == hostinit.Subcommand && filepath.Dir(args[2]) == runDir(cluster) {
			found[args[2]] = pid
		}
	}
	return found, nil
}

// killInit ends a host: the kernel kills everything in its PID namespace
// before the init itself is gone.
func killInit(ctx context.Context, pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("killing the init of a host: %w", err)
	}
	defer func() { _ = unix.Close(process) }()
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the init of a host: %w", err)
	}
	what := fmt.Sprintf("process %d, the init of a host, to end", pid)
	return waitFor(ctx, 2*time.Minute, what, func(context.Context) error {
		// It can be read when the process has ended, even if its parent does not reap it.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 0)
		if n == 0 && err == nil {
			err = errors.New("it runs")
		}
		return err
	})
}

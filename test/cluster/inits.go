// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
func startInit(ctx context.Context, binary, specFile, logFile string) (int, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, fmt.Errorf("opening the log of a host's init: %w", err)
	}
	defer log.Close()
	// Files that this process was given by whoever started it, such as a lock, are
	// not the host's: it would keep them open for as long as it lives. Go's own
	// files are marked already.
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
	// Whoever stays longer than the host must reap it.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	var spec hostinit.Spec
	if err := readJSON(specFile, &spec); err != nil {
		return 0, err
	}
	client := hostinit.NewClient(spec.Socket)
	err = waitFor(ctx, time.Minute, "the init of host "+spec.Hostname, func(ctx context.Context) error {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("it ended: %w; see %s", err, logFile)
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
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing the init of a host: %w", err)
	}
	what := fmt.Sprintf("process %d, the init of a host, to end", pid)
	return waitFor(ctx, 2*time.Minute, what, func(context.Context) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if err != nil {
			return err
		}
		// The state follows the command's name, which is in parentheses. A
		// zombie only waits for a parent that doesn't care.
		_, after, _ := bytes.Cut(stat, []byte(") "))
		if bytes.HasPrefix(after, []byte("Z")) || bytes.HasPrefix(after, []byte("X")) {
			return nil
		}
		return fmt.Errorf("it's in state %.1s", after)
	})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fileops runs a program, reports each of its file operations before it happens, and can kill
// the program at any of them.
//
// It traces the program with ptrace(2): the kernel stops each thread before a system call, until the
// tracer continues the thread or kills the process. This needs Linux 5.3.
package fileops

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operation is a change to a file that is about to happen.
type Operation struct {
	Name string
	// Paths contains the path, and for a rename also the new one.
	Paths []string
}

// String returns the operation as a line.
func (o Operation) String() string { return o.Name + " " + strings.Join(o.Paths, " to ") }

// Guard reports whether an operation may happen. If not, the process is killed before it. Calls of the
// guard are sequential.
type Guard func(Operation) bool

// Start starts the command, and calls the guard before each of its file operations. Call the returned
// function instead of the command's Wait: it waits for the process, and returns errors of the tracer.
func Start(cmd *exec.Cmd, guard Guard) (wait func() error, err error) {
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// The thread that starts the process must also trace it. It exits with this goroutine.
		runtime.LockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- trace(cmd.Process.Pid, guard)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() error {
		err := <-ended
		_ = cmd.Wait() // only for the output: the process has exited
		return err
	}, nil
}

// trace traces a process, which leads its process group, until it exits.
func trace(pid int, guard Guard) error {
	var errs []error
	for first := true; ; first = false {
		var status unix.WaitStatus
		thread, err := unix.Wait4(-pid, &status, unix.WALL|unix.WNOTHREAD, nil)
		for errors.Is(err, unix.EINTR) {
			thread, err = unix.Wait4(-pid, &status, unix.WALL|unix.WNOTHREAD, nil)
		}
		if err != nil || thread == pid && !status.Stopped() {
			return errors.Join(append(errs, err)...)
		}
		if !status.Stopped() {
			continue
		}
		pass, allowed := 0, true
		switch signal := status.StopSignal(); {
		case first:
			err = unix.PtraceSetOptions(pid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESYSGOOD)
		case signal == unix.SIGTRAP|atSystemCall:
			allowed, err = guardSystemCall(thread, guard)
		case signal != unix.SIGTRAP && signal != unix.SIGSTOP: // these report new threads
			pass = int(signal)
		}
		if !allowed {
			errs = append(errs, unix.Kill(pid, unix.SIGKILL))
			continue
		}
		// A thread that was killed meanwhile can be neither read nor continued.
		if continueErr := unix.PtraceSyscall(thread, pass); !errors.Is(continueErr, unix.ESRCH) {
			errs = append(errs, err, continueErr)
		}
	}
}

// atSystemCall is what PTRACE_O_TRACESYSGOOD adds to the signal.
const atSystemCall = 0x80

// systemCall is the kernel's struct ptrace_syscall_info.
type systemCall struct {
	op     uint8
	_      [3]uint8
	_      uint32
	_      [2]uint64
	number uint64
	args   [6]uint64
	_      uint64
}

// guardSystemCall calls the guard for the system call before which a thread is stopped.
func guardSystemCall(thread int, guard Guard) (allowed bool, err error) {
	var s systemCall
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(thread), unsafe.Sizeof(s), uintptr(unsafe.Pointer(&s)), 0, 0); errno != 0 {
		return true, fmt.Errorf("read a system call: %w", errno)
	}
	c, ok := calls[s.number]
	// The kernel stops threads also after a call.
	if s.op != unix.PTRACE_SYSCALL_INFO_ENTRY || !ok || c.changes != nil && !c.changes(s.args) {
		return true, nil
	}
	op, err := c.operation(thread, s.args)
	if err != nil {
		return true, err
	}
	return guard(op), nil
}

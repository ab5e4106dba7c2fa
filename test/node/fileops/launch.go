// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package fileops

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// launcherVariable says to a process that it is the launcher.
	launcherVariable = "FILEOPS_LAUNCHER"
	// socketFD is where the launcher finds the socket to its parent.
	socketFD = 3
)

// Main is to be called first by programs that call Start, whose executable serves
// as the launcher: it asks the kernel to report file operations, hands the reports
// over to its parent, and becomes the program to watch. In other processes
// Main returns at once.
func Main() {
	if os.Getenv(launcherVariable) == "" {
		return
	}
	fmt.Fprintln(os.Stderr, "fileops:", launch(os.Args[1:]))
	os.Exit(1)
}

// launch returns only with an error.
func launch(args []string) error {
	if err := os.Unsetenv(launcherVariable); err != nil {
		return err
	}
	// The filter is the thread's, and the thread that executes a program passes it on.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	reports, err := install(filter())
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(socketFD, nil, unix.UnixRights(reports), nil, 0); err != nil {
		return fmt.Errorf("hand over the kernel's reports: %w", err)
	}
	unix.CloseOnExec(socketFD)
	return fmt.Errorf("execute %s: %w", args[0], syscall.Exec(args[0], args, os.Environ()))
}

// install makes the kernel report to the file that it returns.
func install(filter []unix.SockFilter) (int, error) {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Killable: Go interrupts its threads at any time, and an operation that was
	// interrupted would be reported twice.
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, fmt.Errorf("install the filter for system calls: %w", errno)
	}
	return int(fd), nil
}

// filter is a program for the kernel: report the system calls that change files,
// and let all others pass.
func filter() []unix.SockFilter {
	const number = 0 // where in struct seccomp_data
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number}}
	for nr := range calls {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
}

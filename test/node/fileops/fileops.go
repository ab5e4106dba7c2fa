// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fileops runs a program so that each of its file operations can be seen
// before it happens, in order over all its threads, and made its last.
//
// The kernel holds a thread that is about to change a file and reports it, by
// seccomp's user notification (seccomp_unotify(2)). The report is answered with
// "go on", or the process is killed where it stands. Needs Linux 5.19.
package fileops

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Operation is a change to a file that is about to happen.
type Operation struct {
	Name string
	// Paths has the path, and for a rename the new one too.
	Paths []string
}

// String returns the operation as a line.
func (o Operation) String() string { return o.Name + " " + strings.Join(o.Paths, " to ") }

// Guard reports whether an operation may happen. Otherwise, it does not, and the
// process is killed. One operation is asked about at a time; the others wait.
type Guard func(Operation) bool

// Start starts the command, which must not have ExtraFiles, with the guard asked about all that it does to files. From the channel comes
// an error or nil when the process has ended: what kept the guard from being asked.
func Start(cmd *exec.Cmd, guard Guard) (<-chan error, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the launcher: %w", err), theirs.Close())
	}
	cmd.Args = append([]string{self, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = self
	cmd.Env = append(cmd.Environ(), launcherVariable+"=1")
	cmd.ExtraFiles = []*os.File{theirs} // becomes socketFD
	if err := errors.Join(cmd.Start(), theirs.Close()); err != nil {
		return nil, err
	}
	reports, err := receive(int(ours.Fd()))
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	w := &watcher{pid: cmd.Process.Pid, reports: reports, guard: guard}
	done := make(chan error, 1)
	go func() { done <- errors.Join(w.run(), unix.Close(reports)) }()
	return done, nil
}

func socketPair() (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket to the launcher: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs"), nil
}

// receive takes a file over from the launcher.
func receive(socket int) (int, error) {
	buffer := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, nil, buffer, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("receive from the launcher: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(buffer[:n])
	if err != nil {
		return 0, fmt.Errorf("receive from the launcher: %w", err)
	}
	if len(messages) != 1 {
		return 0, errors.New("the launcher failed, and says why in its output")
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, fmt.Errorf("receive from the launcher: %w", err)
	}
	return files[0], nil
}

// report is the kernel's struct seccomp_notif.
type report struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// answer is the kernel's struct seccomp_notif_resp.
type answer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// notifIDValid is the kernel's SECCOMP_IOCTL_NOTIF_ID_VALID: is the thread still held?
const notifIDValid = 0x40082102

type watcher struct {
	pid int
	// reports is a file descriptor.
	reports int
	guard   Guard
	// killed: none of the process's operations may happen any more.
	killed bool
}

// run answers until the process has ended.
func (w *watcher) run() error {
	var errs []error
	for {
		poll := []unix.PollFd{{Fd: int32(w.reports), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return errors.Join(append(errs, fmt.Errorf("wait for the kernel's reports: %w", err))...)
		}
		switch {
		case poll[0].Revents&unix.POLLIN != 0:
			if err := w.next(); err != nil {
				errs = append(errs, err)
			}
		case poll[0].Revents != 0:
			return errors.Join(errs...)
		}
	}
}

// next takes one report and answers it.
func (w *watcher) next() error {
	var r report
	if errno := control(w.reports, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&r)); errno != 0 {
		if errno == unix.ENOENT || errno == unix.EINTR { // the thread has ended
			return nil
		}
		return fmt.Errorf("take the kernel's report: %w", errno)
	}
	if w.killed {
		return nil
	}
	allowed, err := w.ask(r)
	if !allowed {
		w.killed = true
		return errors.Join(err, unix.Kill(w.pid, unix.SIGKILL))
	}
	a := answer{id: r.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if errno := control(w.reports, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a)); errno != 0 && errno != unix.ENOENT {
		return errors.Join(err, fmt.Errorf("answer the kernel's report: %w", errno))
	}
	return err
}

func (w *watcher) ask(r report) (bool, error) {
	c := calls[r.nr]
	if c.changes != nil && !c.changes(r.args) {
		return true, nil
	}
	op, err := c.operation(int(r.pid), r.args)
	if err != nil {
		// Another process may have killed it meanwhile.
		if control(w.reports, notifIDValid, unsafe.Pointer(&r.id)) == unix.ENOENT {
			return true, nil
		}
		return true, err
	}
	return w.guard(op), nil
}

func control(fd int, request uint, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	return errno
}

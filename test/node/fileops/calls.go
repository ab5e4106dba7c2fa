// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package fileops

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// call describes the arguments of a system call.
type call struct {
	name string
	// paths are the arguments that form the path. A rename has two paths.
	paths []path
	// changes reports whether a call with these arguments changes a file. Nil: always.
	changes func(args [6]uint64) bool
}

// path has the indexes of the arguments for the directory and the name in it. Without a name, the
// directory is the file itself.
type path struct{ dir, name int }

const none = -1

// calls are the system calls with which a Go program changes files.
var calls = map[uint64]call{
	unix.SYS_OPENAT:    {name: "create", paths: []path{{0, 1}}, changes: creates},
	unix.SYS_MKDIRAT:   {name: "mkdir", paths: []path{{0, 1}}},
	unix.SYS_UNLINKAT:  {name: "remove", paths: []path{{0, 1}}},
	unix.SYS_RENAMEAT:  {name: "rename", paths: []path{{0, 1}, {2, 3}}},
	unix.SYS_RENAMEAT2: {name: "rename", paths: []path{{0, 1}, {2, 3}}},
	unix.SYS_LINKAT:    {name: "link", paths: []path{{0, 1}, {2, 3}}},
	unix.SYS_SYMLINKAT: {name: "symlink", paths: []path{{1, 2}}},
	unix.SYS_FCHMODAT:  {name: "chmod", paths: []path{{0, 1}}},
	unix.SYS_FCHMOD:    {name: "chmod", paths: []path{{0, none}}},
	unix.SYS_FCHOWNAT:  {name: "chown", paths: []path{{0, 1}}},
	unix.SYS_FTRUNCATE: {name: "truncate", paths: []path{{0, none}}},
	unix.SYS_WRITE:     {name: "write", paths: []path{{0, none}}},
	unix.SYS_PWRITE64:  {name: "write", paths: []path{{0, none}}},
	unix.SYS_FSYNC:     {name: "sync", paths: []path{{0, none}}},
	unix.SYS_FDATASYNC: {name: "sync", paths: []path{{0, none}}},
}

func creates(args [6]uint64) bool { return args[2]&(unix.O_CREAT|unix.O_TRUNC) != 0 }

// operation reads the arguments of a thread that is stopped before a system call.
func (c call) operation(thread int, args [6]uint64) (Operation, error) {
	op := Operation{Name: c.name}
	for _, p := range c.paths {
		dir := fmt.Sprintf("/proc/%d/fd/%d", thread, int32(args[p.dir]))
		if int32(args[p.dir]) == unix.AT_FDCWD {
			dir = fmt.Sprintf("/proc/%d/cwd", thread)
		}
		var name string
		if p.name != none {
			var err error
			if name, err = stringAt(thread, args[p.name]); err != nil {
				return op, fmt.Errorf("read the path of a %s: %w", c.name, err)
			}
		}
		if !filepath.IsAbs(name) {
			target, err := os.Readlink(dir)
			if err != nil {
				return op, fmt.Errorf("find the directory of a %s: %w", c.name, err)
			}
			name = filepath.Join(target, name)
		}
		op.Paths = append(op.Paths, filepath.Clean(name))
	}
	return op, nil
}

// stringAt reads a null-terminated string from the memory of a process.
func stringAt(pid int, address uint64) (string, error) {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return "", err
	}
	defer memory.Close()
	text, err := bufio.NewReader(io.NewSectionReader(memory, int64(address), unix.PathMax)).ReadString(0)
	return strings.TrimSuffix(text, "\x00"), err
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package staging replaces files, and creates and removes directories, atomically: if the process
// is killed at any point, the old state or the new state exists.
//
// Processes write in a staging directory, and rename from there. Meanwhile they hold a shared lock
// on it, which the kernel releases when a process ends or is killed. When a process gets the
// exclusive lock, everything in the directory is therefore abandoned.
package staging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// dirMode denies access to other users of the host, because tokens are written here.
	dirMode = 0o700
	// removeTries is the number of attempts to remove a directory in which other processes write.
	removeTries = 100
	// lockInterval and lockTimeout are for RemoveAbandoned, which waits for other processes
	// that write.
	lockInterval = 10 * time.Millisecond
	lockTimeout  = time.Second
)

// Dir is the path of a staging directory, which several processes can use. It is created when it
// is needed. It must be below the same mount point as the files to replace (rename(2)).
type Dir string

// lock locks the directory in a mode of flock(2).
func (d Dir) lock(mode int) (unlock func() error, err error) {
	if err := os.MkdirAll(string(d), dirMode); err != nil {
		return nil, err
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(dir.Fd()), mode)
		if err == nil {
			return dir.Close, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", d, err), dir.Close())
		}
	}
}

// File is a file or, depending on the mode, a directory.
type File struct {
	// Path is relative to the directory that Create or Update is called for.
	Path    string
	Content []byte
	// Mode does not depend on the umask.
	Mode fs.FileMode
}

// write creates the file at path.
func (f File) write(path string) (err error) {
	if f.Mode.IsDir() {
		err = os.Mkdir(path, f.Mode.Perm())
	} else {
		err = os.WriteFile(path, f.Content, f.Mode)
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, f.Mode.Perm())
}

// Create creates a directory with files at path. Readers see all of it or nothing. The error
// is fs.ErrExist if there is a directory at path.
func (d Dir) Create(path string, files []File) error {
	return d.Put(path, func(dir string) (string, error) {
		const name = "new"
		for _, file := range slices.Concat([]File{{Mode: fs.ModeDir | dirMode}}, files) {
			if err := file.write(filepath.Join(dir, name, file.Path)); err != nil {
				return "", err
			}
		}
		return name, nil
	})
}

// Update replaces the files in the directory at path whose content differs, and creates missing
// directories, one after another. Readers see the old or the new content of each file. The error
// is fs.ErrNotExist if the directory of a file does not exist.
func (d Dir) Update(path string, files []File) error {
	for _, file := range files {
		path := filepath.Join(path, file.Path)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, file.Content) {
			continue
		}
		const name = "new"
		err := d.Put(path, func(dir string) (string, error) { return name, file.write(filepath.Join(dir, name)) })
		if err != nil && (!file.Mode.IsDir() || !errors.Is(err, fs.ErrExist)) {
			return err
		}
	}
	return nil
}

// Put calls build with a temporary directory, and moves the file or directory that build creates
// there to path. build returns its name. A file replaces the one at path. For a directory, the
// error is fs.ErrExist if there is a directory at path.
func (d Dir) Put(path string, build func(dir string) (name string, err error)) error {
	return d.inTempDir(func(dir string) error {
		name, err := build(dir)
		if err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, name), path)
	})
}

// Discard removes the file or directory at path, if there is one. Other processes see all
// of it or nothing.
func (d Dir) Discard(path string) error {
	return d.inTempDir(func(dir string) error {
		err := os.Rename(path, filepath.Join(dir, filepath.Base(path)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// inTempDir calls a function with a new directory, and removes the directory.
func (d Dir) inTempDir(do func(dir string) error) (err error) {
	unlock, err := d.lock(syscall.LOCK_SH)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	dir, err := os.MkdirTemp(string(d), "")
	if err != nil {
		return err
	}
	return errors.Join(do(dir), removeAll(dir))
}

// removeAll removes a directory. A process that opened it before it was moved here can still
// create a file in it.
func removeAll(dir string) error {
	var err error
	for range removeTries {
		if err = os.RemoveAll(dir); !errors.Is(err, syscall.ENOTEMPTY) {
			break
		}
	}
	return err
}

// RemoveAbandoned removes what processes were writing when they were killed. It returns the paths.
func (d Dir) RemoveAbandoned(ctx context.Context) (removed []string, err error) {
	var unlock func() error
	if err := wait.PollUntilContextTimeout(ctx, lockInterval, lockTimeout, true, func(context.Context) (bool, error) {
		var err error
		unlock, err = d.lock(syscall.LOCK_EX | syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, nil
		}
		return err == nil, err
	}); err != nil {
		return nil, fmt.Errorf("wait until no process writes in %s: %w", d, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, fmt.Errorf("list abandoned files: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(string(d), e.Name())
		if err := os.RemoveAll(path); err != nil {
			errs = append(errs, fmt.Errorf("remove abandoned files: %w", err))
			continue
		}
		removed = append(removed, path)
	}
	return removed, errors.Join(errs...)
}

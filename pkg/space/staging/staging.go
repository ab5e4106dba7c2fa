// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package staging replaces files and creates and removes directories so that a process
// that is killed at any point leaves the old state or the new one, and nothing that
// outlives it for long.
//
// Each process writes in a directory of its own and renames from there. The
// process holds a lock on the directory, which the kernel releases when the
// process ends, however it ends. So another process knows at any time, without
// guessing by age, which directories are abandoned.
package staging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

const (
	// dirMode keeps other users of the host out: tokens are written here.
	dirMode = 0o700
	// createTries is how often other processes may be in the way of a new directory.
	createTries = 100
	// removeTries is how often other processes may be in the way of a removal.
	removeTries = 100
)

// Dir is the staging directory of this process.
type Dir struct {
	parent string

	mutex sync.Mutex
	// lock is the open directory, with an exclusive flock(2) on it. Nil: closed.
	lock *os.File
}

// Open creates a directory for this process in parent, which has staging
// directories only. parent has to be on the file system of the files to replace,
// and below the same mount point (rename(2)).
func Open(parent string) (*Dir, error) {
	lock, err := create(parent)
	if err != nil {
		return nil, err
	}
	return &Dir{parent: parent, lock: lock}, nil
}

// create creates and locks a directory.
func create(parent string) (*os.File, error) {
	for range createTries {
		lock, err := tryCreate(parent)
		if err != nil {
			return nil, fmt.Errorf("create a staging directory in %s: %w", parent, err)
		}
		if lock != nil {
			return lock, nil
		}
	}
	return nil, fmt.Errorf("create a staging directory in %s: other processes removed it %d times", parent, createTries)
}

// tryCreate returns nil if another process took the new directory for an abandoned
// one, or removed its parent, before this one had locked it.
func tryCreate(parent string) (*os.File, error) {
	if err := os.MkdirAll(parent, dirMode); errors.Is(err, fs.ErrExist) {
		return nil, nil // it existed, and was removed at once
	} else if err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	if lock == nil {
		return nil, nil
	}
	// It may have been removed before it was locked.
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, lock.Close()
	} else if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// lockDir opens and locks a directory. It returns nil if the directory does not
// exist or another process has the lock.
func lockDir(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return dir, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = nil
	}
	return nil, errors.Join(err, dir.Close())
}

// path returns the directory. It is created again if somebody has removed it, such
// as an administrator who empties /run.
func (d *Dir) path() (string, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.lock == nil {
		return "", fmt.Errorf("the staging directory in %s is closed", d.parent)
	}
	if _, err := os.Lstat(d.lock.Name()); !errors.Is(err, fs.ErrNotExist) {
		return d.lock.Name(), err
	}
	lock, err := create(d.parent)
	if err != nil {
		return "", err
	}
	_ = d.lock.Close()
	d.lock = lock
	return lock.Name(), nil
}

// Close removes the directory. Nothing can be written any more.
func (d *Dir) Close() error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.lock == nil {
		return nil
	}
	err := os.RemoveAll(d.lock.Name())
	_ = os.Remove(d.parent) // which fails while other processes have directories there
	err = errors.Join(err, d.lock.Close())
	d.lock = nil
	return err
}

// WriteFile replaces the file at path. Readers see the old content or the new
// content. The error is fs.ErrNotExist if the directory of path does not exist.
func (d *Dir) WriteFile(path string, content []byte, mode fs.FileMode) error {
	staging, err := d.path()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(staging, "")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Put moves what build creates in the directory that it is given to path. build
// returns the name of a file, which replaces the one at path, or of a directory; then
// the error is fs.ErrExist if there is a directory at path.
func (d *Dir) Put(path string, build func(dir string) (name string, err error)) error {
	return d.inTempDir(func(dir string) error {
		name, err := build(dir)
		if err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, name), path)
	})
}

// Discard removes the file or directory at path, if there is one. Others see all of it
// or nothing.
func (d *Dir) Discard(path string) error {
	return d.inTempDir(func(dir string) error {
		err := os.Rename(path, filepath.Join(dir, filepath.Base(path)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// inTempDir calls a function with a new directory, and removes the directory.
func (d *Dir) inTempDir(do func(dir string) error) error {
	staging, err := d.path()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(staging, "")
	if err != nil {
		return err
	}
	return errors.Join(do(dir), removeAll(dir))
}

// removeAll removes a directory in which another process can just be finishing what it
// began before the directory was moved here.
func removeAll(dir string) error {
	var err error
	for range removeTries {
		if err = os.RemoveAll(dir); !errors.Is(err, syscall.ENOTEMPTY) {
			break
		}
	}
	return err
}

// RemoveAbandoned removes what processes left that have ended, and returns the
// paths of the files.
func (d *Dir) RemoveAbandoned() ([]string, error) {
	own, err := d.path()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.parent)
	if err != nil {
		return nil, fmt.Errorf("look for abandoned files: %w", err)
	}
	var removed []string
	var errs []error
	for _, e := range entries {
		path := filepath.Join(d.parent, e.Name())
		if !e.IsDir() || path == own {
			continue
		}
		files, err := removeUnlocked(path)
		removed = append(removed, files...)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove abandoned files in %s: %w", path, err))
		}
	}
	return removed, errors.Join(errs...)
}

// removeUnlocked removes a directory, unless its process is running.
func removeUnlocked(path string) (files []string, err error) {
	lock, err := lockDir(path)
	if lock == nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	}); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return files, os.RemoveAll(path)
}

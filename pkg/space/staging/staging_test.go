// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package staging_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/space-dra/space-dra-driver/pkg/space/staging"
)

// writerVariable makes the test binary a process that writes in the directory
// which the variable names, and waits to be killed.
const writerVariable = "STAGING_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerVariable); dir != "" {
		if err := writeAndWait(staging.Dir(dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func writeAndWait(dir staging.Dir) error {
	return dir.Put("never", func(temp string) (string, error) {
		if err := os.WriteFile(filepath.Join(temp, "half"), []byte("half a tok"), 0o600); err != nil {
			return "", err
		}
		if _, err := os.Stdout.WriteString(temp + "\n"); err != nil {
			return "", err
		}
		<-time.After(time.Hour)
		return "", errors.New("not killed")
	})
}

// startWriter starts a process that writes, and returns the unfinished directory.
func startWriter(t *testing.T, dir staging.Dir) (kill func(), unfinished string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerVariable+"="+string(dir))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { _, _ = cmd.Process.Kill(), cmd.Wait() }
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("the writer printed nothing: %v", lines.Err())
	}
	return kill, lines.Text()
}

func newDir(t *testing.T) staging.Dir {
	t.Helper()
	return staging.Dir(filepath.Join(t.TempDir(), "staging"))
}

func wantEmpty(t *testing.T, dir staging.Dir) {
	t.Helper()
	if entries, err := os.ReadDir(string(dir)); err != nil || len(entries) > 0 {
		t.Errorf("remaining: %v, error %v", entries, err)
	}
}

func TestRemoveAbandoned_removesFilesOfAKilledProcess(t *testing.T) {
	dir := newDir(t)
	kill, unfinished := startWriter(t, dir)
	if got, err := dir.RemoveAbandoned(t.Context()); err == nil || len(got) > 0 {
		t.Errorf("removed %q while the process runs, error %v", got, err)
	}
	if _, err := os.Stat(unfinished); err != nil {
		t.Fatal(err)
	}
	kill()
	if got, err := dir.RemoveAbandoned(t.Context()); err != nil || !slices.Equal(got, []string{unfinished}) {
		t.Errorf("removed %q, error %v, want %q", got, err, unfinished)
	}
	wantEmpty(t, dir)
}

func TestRemoveAbandoned_waitsForWriters(t *testing.T) {
	dir := newDir(t)
	done := make(chan error, 1)
	if err := dir.Put(filepath.Join(t.TempDir(), "file"), func(temp string) (string, error) {
		go func() {
			removed, err := dir.RemoveAbandoned(t.Context())
			if len(removed) > 0 {
				err = fmt.Errorf("removed %q", removed)
			}
			done <- err
		}()
		// Without the wait for writers, the removal would happen now.
		<-time.After(50 * time.Millisecond)
		return "file", os.WriteFile(filepath.Join(temp, "file"), nil, 0o600)
	}); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDir_canBeUsedConcurrently(t *testing.T) {
	dir, target := newDir(t), t.TempDir()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 200 {
				if err := dir.Put(filepath.Join(target, fmt.Sprint(i)), func(temp string) (string, error) {
					file := filepath.Join(temp, "file")
					return "file", errors.Join(writeFile(dir, file, "x"), writeFile(dir, file, "y"))
				}); err != nil {
					t.Errorf("Put failed: %v", err)
				}
			}
		})
	}
	all.Go(func() {
		for range 3 {
			if removed, _ := dir.RemoveAbandoned(t.Context()); len(removed) > 0 {
				t.Errorf("removed %q", removed)
			}
		}
	})
	all.Wait()
	wantEmpty(t, dir)
}

func writeFile(dir staging.Dir, path, content string) error {
	return dir.Update(filepath.Dir(path), []staging.File{{Path: filepath.Base(path), Content: []byte(content), Mode: 0o644}})
}

func TestCreate_isAtomic(t *testing.T) {
	dir, target := newDir(t), filepath.Join(t.TempDir(), "claim")
	defer syscall.Umask(syscall.Umask(0o077))
	files := []staging.File{
		{Path: "metadata", Content: []byte("m"), Mode: 0o600},
		{Path: "credentials", Mode: fs.ModeDir | 0o755},
		{Path: "credentials/token", Content: []byte("t"), Mode: 0o644},
	}
	if err := dir.Create(target, files); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(filepath.Join(target, file.Path)); err != nil || info.Mode() != file.Mode {
			t.Errorf("got %v, error %v, want mode %s", info, err, file.Mode)
		}
	}
	if err := dir.Create(target, files); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrExist)
	}
	if err := dir.Create(filepath.Join(filepath.Dir(target), "half"), append(files, staging.File{Path: "no/such", Mode: 0o600})); err == nil {
		t.Error("Create did not fail")
	}
	wantEmpty(t, dir)
	if entries, err := os.ReadDir(filepath.Dir(target)); err != nil || len(entries) != 1 {
		t.Errorf("got %v, error %v", entries, err)
	}
}

func TestUpdate_createsDirectories(t *testing.T) {
	dir, target := newDir(t), t.TempDir()
	files := []staging.File{{Path: "a", Mode: fs.ModeDir | 0o755}, {Path: "a/file", Content: []byte("x"), Mode: 0o644}}
	if err := dir.Update(target, files); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(target, "a", "file"))
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Update(target, files); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(filepath.Join(target, "a", "file")); err != nil || !os.SameFile(before, after) {
		t.Errorf("a file with the same content was replaced, error %v", err)
	}
	wantEmpty(t, dir)
}

func TestUpdate_replacesFilesOnly(t *testing.T) {
	dir, target := newDir(t), t.TempDir()
	path := filepath.Join(target, "file")
	for _, content := range []string{"old, and longer", "new"} {
		if err := writeFile(dir, path, content); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("got %q, error %v, want %q", got, err, content)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("got %v, error %v", info, err)
	}
	if err := writeFile(dir, filepath.Join(target, "no", "such"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that does not exist: got error %v", err)
	}
	if err := writeFile(dir, target, ""); err == nil {
		t.Error("a directory was replaced")
	}
	wantEmpty(t, dir)
}

func TestPut_removesTemporaryFilesAfterAnError(t *testing.T) {
	dir, target := newDir(t), filepath.Join(t.TempDir(), "file")
	noSpace := errors.New("no space left on device")
	if err := dir.Put(target, func(temp string) (string, error) {
		return "", errors.Join(noSpace, os.WriteFile(filepath.Join(temp, "spec.1.tmp"), nil, 0o600))
	}); !errors.Is(err, noSpace) {
		t.Errorf("got error %v", err)
	}
	wantEmpty(t, dir)
}

func TestPut_doesNotReplaceADirectory(t *testing.T) {
	dir, target := newDir(t), filepath.Join(t.TempDir(), "claim")
	build := func(temp string) (string, error) {
		return "new", os.MkdirAll(filepath.Join(temp, "new", "credentials"), 0o700)
	}
	if err := dir.Put(target, build); err != nil {
		t.Fatal(err)
	}
	if err := dir.Put(target, build); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrExist)
	}
}

func TestDiscard_isIdempotent(t *testing.T) {
	dir, target := newDir(t), t.TempDir()
	if err := os.MkdirAll(filepath.Join(target, "claim", "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := dir.Discard(filepath.Join(target, "claim")); err != nil {
			t.Fatal(err)
		}
		wantEmpty(t, staging.Dir(target))
	}
	wantEmpty(t, dir)
}

func TestDir_isRecreated(t *testing.T) {
	dir, target := newDir(t), t.TempDir()
	for range 2 {
		if err := writeFile(dir, filepath.Join(target, "file"), ""); err != nil {
			t.Error(err)
		}
		// An administrator may clean up /run.
		if err := os.RemoveAll(string(dir)); err != nil {
			t.Fatal(err)
		}
	}
}

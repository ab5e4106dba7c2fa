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
	"testing"

	"github.com/space-dra/space-dra-driver/pkg/space/staging"
)

// writerVariable makes the test binary a process that writes in the directory
// which the variable names, and waits to be killed.
const writerVariable = "STAGING_TEST_WRITER"

func TestMain(m *testing.M) {
	if parent := os.Getenv(writerVariable); parent != "" {
		if err := writeAndWait(parent); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func writeAndWait(parent string) error {
	dir, err := staging.Open(parent)
	if err != nil {
		return err
	}
	return dir.Put("never", func(staging string) (string, error) {
		half := filepath.Join(staging, "half")
		if err := os.WriteFile(half, []byte("half a tok"), 0o600); err != nil {
			return "", err
		}
		if _, err := os.Stdout.WriteString(half + "\n"); err != nil {
			return "", err
		}
		select {}
	})
}

// startWriter starts a process that writes, and returns the unfinished file.
func startWriter(t *testing.T, parent string) (kill func(), half string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerVariable+"="+parent)
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

func open(t *testing.T, parent string) *staging.Dir {
	t.Helper()
	dir, err := staging.Open(parent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func removeAbandoned(t *testing.T, dir *staging.Dir) []string {
	t.Helper()
	removed, err := dir.RemoveAbandoned()
	if err != nil {
		t.Fatal(err)
	}
	return removed
}

func TestRemoveAbandoned_removesWhatAKilledProcessWasWriting(t *testing.T) {
	parent := t.TempDir()
	dir := open(t, parent)
	kill, half := startWriter(t, parent)
	if got := removeAbandoned(t, dir); len(got) > 0 {
		t.Errorf("removed %q of a process that is running", got)
	}
	if _, err := os.Stat(half); err != nil {
		t.Fatal(err)
	}
	kill()
	if got := removeAbandoned(t, dir); !slices.Equal(got, []string{half}) {
		t.Errorf("removed %q, want %q", got, half)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, error %v, want the test's own directory", entries, err)
	}
}

func TestRemoveAbandoned_leavesOwnFilesAndFilesOfOthersAlone(t *testing.T) {
	parent, target := t.TempDir(), filepath.Join(t.TempDir(), "file")
	dir := open(t, parent)
	other := filepath.Join(parent, "file")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dir.Put(target, func(staging string) (string, error) {
		if got := removeAbandoned(t, dir); len(got) > 0 {
			t.Errorf("removed %q", got)
		}
		return "own", os.WriteFile(filepath.Join(staging, "own"), nil, 0o600)
	}); err != nil {
		t.Error(err)
	}
	for _, path := range []string{target, other} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// A process that starts must not lose its directory to one that looks for
// abandoned ones just then.
func TestOpen_whileOthersRemoveAndClose(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "staging")
	target := filepath.Join(t.TempDir(), "file")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				dir, err := staging.Open(parent)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := dir.RemoveAbandoned(); err != nil {
					t.Error(err)
				}
				if err := dir.Put(target, func(staging string) (string, error) {
					if _, err := dir.RemoveAbandoned(); err != nil {
						t.Error(err)
					}
					return "file", os.WriteFile(filepath.Join(staging, "file"), nil, 0o600)
				}); err != nil {
					t.Errorf("an open directory was removed: %v", err)
				}
				if err := dir.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if _, err := os.Stat(parent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the parent is still there: %v", err)
	}
}

func TestWriteFile(t *testing.T) {
	staged, target := filepath.Join(t.TempDir(), "staging"), t.TempDir()
	dir := open(t, staged)
	path := filepath.Join(target, "file")
	for _, content := range []string{"old, and longer", "new"} {
		if err := dir.WriteFile(path, []byte(content), 0o644); err != nil {
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
	if err := dir.WriteFile(filepath.Join(target, "no", "such"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that does not exist: got error %v", err)
	}
	if err := dir.WriteFile(target, nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := filepath.Glob(filepath.Join(staged, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("failures left %q, error %v", left, err)
	}
}

func TestPut_leavesNothingOfAFailure(t *testing.T) {
	staged, target := filepath.Join(t.TempDir(), "staging"), filepath.Join(t.TempDir(), "file")
	dir := open(t, staged)
	noSpace := errors.New("no space left on device")
	if err := dir.Put(target, func(staging string) (string, error) {
		return "", errors.Join(noSpace, os.WriteFile(filepath.Join(staging, "spec.1.tmp"), nil, 0o600))
	}); !errors.Is(err, noSpace) {
		t.Errorf("got error %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(staged, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, error %v", left, err)
	}
}

func TestPut_replacesNoDirectory(t *testing.T) {
	target := filepath.Join(t.TempDir(), "claim")
	dir := open(t, filepath.Join(t.TempDir(), "staging"))
	build := func(staging string) (string, error) {
		return "new", os.MkdirAll(filepath.Join(staging, "new", "credentials"), 0o700)
	}
	if err := dir.Put(target, build); err != nil {
		t.Fatal(err)
	}
	if err := dir.Put(target, build); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got error %v, want %v", err, fs.ErrExist)
	}
}

func TestDiscard(t *testing.T) {
	staged, target := filepath.Join(t.TempDir(), "staging"), t.TempDir()
	dir := open(t, staged)
	if err := os.MkdirAll(filepath.Join(target, "claim", "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := dir.Discard(filepath.Join(target, "claim")); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(target); err != nil || len(entries) > 0 {
			t.Errorf("left: %v, error %v", entries, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(staged, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left in the staging directory: %q, error %v", left, err)
	}
}

func TestDir_isCreatedAgainAndLockedWhenSomebodyRemovesIt(t *testing.T) {
	staged, target := filepath.Join(t.TempDir(), "staging"), t.TempDir()
	dir := open(t, staged)
	if err := os.RemoveAll(staged); err != nil {
		t.Fatal(err)
	}
	if err := dir.WriteFile(filepath.Join(target, "later"), nil, 0o600); err != nil {
		t.Error(err)
	}
	other := open(t, staged)
	if err := dir.Put(filepath.Join(target, "file"), func(staging string) (string, error) {
		removeAbandoned(t, other)
		return "file", os.WriteFile(filepath.Join(staging, "file"), nil, 0o600)
	}); err != nil {
		t.Errorf("the new directory is not locked: %v", err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	if err := dir.WriteFile(filepath.Join(target, "later"), nil, 0o600); err == nil {
		t.Error("a closed directory was written to")
	}
}

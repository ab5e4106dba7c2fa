// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package fileops_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/space-dra/space-dra-driver/test/node/fileops"
)

// directory is the variable that makes this executable the traced program. It names its directory.
const directory = "FILEOPS_TEST_DIRECTORY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(directory); dir != "" {
		if err := work(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// work does each kind of operation, and then creates directories in many threads.
func work(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	for _, do := range []func() error{
		func() error { return os.Mkdir("d", 0o750) },
		func() error { return os.WriteFile("d/f", []byte("text"), 0o600) },
		func() error { return os.Chmod("d/f", 0o640) },
		func() error { return os.Rename("d/f", filepath.Join(dir, "d", "g")) },
		func() error { return os.RemoveAll("d") },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			for j := range files {
				_ = os.Mkdir(fmt.Sprintf("%d-%d", i, j), 0o750)
			}
		})
	}
	all.Wait()
	return nil
}

const workers, files = 20, 50

// traceWork runs work in a directory, and calls the guard for each operation there.
func traceWork(t *testing.T, guard func(op string) bool) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(cmd.Environ(), directory+"="+dir)
	wait, err := fileops.Start(cmd, func(op fileops.Operation) bool {
		if !strings.HasPrefix(op.Paths[0], dir) {
			return true
		}
		return guard(strings.ReplaceAll(op.String(), dir+"/", ""))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Error(err)
	}
	return dir
}

func TestStart_reportsEachOperationOnceInOrder(t *testing.T) {
	var seen []string
	traceWork(t, func(op string) bool { seen = append(seen, op); return true })
	want := []string{"mkdir d", "create d/f", "write d/f", "chmod d/f", "rename d/f to d/g"}
	if len(seen) < len(want) || !slices.Equal(seen[:len(want)], want) {
		t.Errorf("the operations are %q, want %q first", seen, want)
	}
	created := map[string]int{}
	for _, op := range seen {
		if strings.HasPrefix(op, "mkdir ") {
			created[op]++
		}
	}
	if want := 1 + workers*files; len(created) != want {
		t.Errorf("%d directories were created, want %d", len(created), want)
	}
	for op, n := range created {
		if n != 1 {
			t.Errorf("%s was reported %d times", op, n)
		}
	}
}

func TestStart_killsAtTheDeniedOperation(t *testing.T) {
	for last := 10; last < 50; last++ {
		n := 0
		allowed := map[string]bool{}
		dir := traceWork(t, func(op string) bool {
			if n++; n > last {
				return false
			}
			if name, ok := strings.CutPrefix(op, "mkdir "); ok && name != "d" {
				allowed[name] = true
			}
			return true
		})
		if n <= last {
			t.Fatalf("the process was not killed in %d operations", n)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !allowed[entry.Name()] {
				t.Errorf("%s was created, but the first %d operations are %v", entry.Name(), last, allowed)
			}
		}
		// Operations of other threads may have been in progress.
		if missing := len(allowed) - len(entries); missing > workers {
			t.Errorf("%d of the allowed operations did not happen", missing)
		}
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestACommitIsReadAndChangesAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--allow-empty", "--message=x"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=1700000000 +0100")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	commit, err := Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(commit.Revision) != 40 || commit.Time.Unix() != 1_700_000_000 {
		t.Errorf("the commit is %+v", commit)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "has changes") {
		t.Errorf("a folder with changes: %v", err)
	}
}

func TestAFolderWithoutCommitsHasNoSource(t *testing.T) {
	if commit, err := Read(t.Context(), t.TempDir()); err == nil {
		t.Errorf("there is %+v", commit)
	}
}

func TestTimesAreSeconds(t *testing.T) {
	if _, err := Epoch("yesterday"); err == nil {
		t.Error("a word is taken for a time")
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package source says which commit is checked out.
package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Commit is a commit of the repository.
type Commit struct {
	Revision string
	Time     time.Time
}

// Read returns the commit that a folder has checked out. It refuses a folder with
// changes: what is built there would be of no commit.
func Read(ctx context.Context, dir string) (Commit, error) {
	changes, err := git(ctx, dir, "status", "--porcelain")
	if err != nil {
		return Commit{}, err
	}
	if changes != "" {
		return Commit{}, fmt.Errorf("a release is made of a commit, but %s has changes:\n%s", dir, changes)
	}
	line, err := git(ctx, dir, "show", "--no-patch", "--format=%H %ct", "HEAD")
	if err != nil {
		return Commit{}, err
	}
	revision, seconds, _ := strings.Cut(line, " ")
	when, err := Epoch(seconds)
	if err != nil {
		return Commit{}, fmt.Errorf("reading the time of commit %s: %w", revision, err)
	}
	return Commit{Revision: revision, Time: when}, nil
}

// Epoch reads a time in seconds, as SOURCE_DATE_EPOCH has it.
func Epoch(seconds string) (time.Time, error) {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time in seconds: %w", seconds, err)
	}
	return time.Unix(n, 0).UTC(), nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("git %s in %s: %w: %s", args[0], dir, err, bytes.TrimSpace(exit.Stderr))
		}
		return "", fmt.Errorf("git %s in %s: %w", args[0], dir, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// own is the folder of the programs that are this module's.
const own = "own"

// ownPrograms returns the programs that are built from this module.
func ownPrograms() []string {
	return []string{"space-cluster", "printenv", "in-cluster-client"}
}

// Builder builds programs into a directory and finds them there.
type Builder struct {
	// Module is the directory of the module that this package is part of.
	Module string
	// Dir is where the programs are kept, below a folder for each version.
	Dir string
	// Log logs what takes time.
	Log func(format string, args ...any)
}

// Build builds what isn't there yet, and returns the path of each program, and
// of this module's own ones.
func (b *Builder) Build(ctx context.Context, programs ...string) (map[string]string, error) {
	unlock, err := b.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()

	paths, jobs, err := b.locate(ctx, programs)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if err := b.buildComponent(ctx, j); err != nil {
			return nil, fmt.Errorf("building %s: %w", j.dir, err)
		}
	}
	// The go command decides what of these is out of date.
	dir := filepath.Join(b.Dir, own)
	if err := b.build(ctx, b.Module, dir, "-s -w", prefixed("./cmd/", ownPrograms())...); err != nil {
		return nil, fmt.Errorf("building the cluster's own programs: %w", err)
	}
	for _, name := range ownPrograms() {
		paths[name] = filepath.Join(dir, name)
	}
	return paths, nil
}

func prefixed(prefix string, names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, prefix+name)
	}
	return out
}

// Missing returns which programs would have to be built.
func (b *Builder) Missing(ctx context.Context, programs ...string) ([]string, error) {
	_, jobs, err := b.locate(ctx, programs)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, j := range jobs {
		names = append(names, j.missing...)
	}
	return names, nil
}

// job is a component of which programs are missing.
type job struct {
	component

	into    string
	missing []string
}

// locate returns where programs are to be, and what has to be built for that.
func (b *Builder) locate(ctx context.Context, programs []string) (map[string]string, []job, error) {
	for _, p := range programs {
		if !slices.Contains(All(), p) {
			return nil, nil, fmt.Errorf("no program %q; there are %s", p, strings.Join(All(), ", "))
		}
	}
	goVersion, err := b.goVersion(ctx)
	if err != nil {
		return nil, nil, err
	}
	paths := map[string]string{}
	var jobs []job
	for _, c := range components() {
		if !slices.ContainsFunc(c.programs, func(p string) bool { return slices.Contains(programs, p) }) {
			continue
		}
		if err := c.readModule(b.components()); err != nil {
			return nil, nil, err
		}
		key, err := b.key(&c, goVersion)
		if err != nil {
			return nil, nil, err
		}
		j := job{component: c, into: filepath.Join(b.Dir, fmt.Sprintf("%s-%s-%s", c.dir, c.version, key))}
		for _, p := range c.programs {
			if !slices.Contains(programs, p) {
				continue
			}
			paths[p] = filepath.Join(j.into, p)
			if _, err := os.Stat(paths[p]); err != nil {
				j.missing = append(j.missing, p)
			}
		}
		if len(j.missing) > 0 {
			jobs = append(jobs, j)
		}
	}
	return paths, jobs, nil
}

// key changes with everything that a component's programs depend on.
func (b *Builder) key(c *component, goVersion string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, goVersion, c.flags())
	files, err := filepath.Glob(filepath.Join(b.components(), c.dir, "*"))
	if err != nil {
		return "", fmt.Errorf("listing component %s: %w", c.dir, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return "", fmt.Errorf("reading component %s: %w", c.dir, err)
		}
		fmt.Fprintln(sum, filepath.Base(f), len(data))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))[:10], nil
}

func (b *Builder) buildComponent(ctx context.Context, j job) error {
	start := time.Now()
	b.Log("building %s %s: %s (first time: %s) ...", j.dir, j.version, strings.Join(j.missing, ", "), j.firstTime)
	var packages []string
	for _, p := range j.missing {
		packages = append(packages, j.packages[p])
	}
	partial := j.into + ".partial"
	defer func() { _ = os.RemoveAll(partial) }()
	if err := b.build(ctx, filepath.Join(b.components(), j.dir), partial, j.flags(), packages...); err != nil {
		return err
	}
	if err := os.MkdirAll(j.into, 0o755); err != nil {
		return err
	}
	// A program is in its place only when it's complete.
	for _, p := range j.missing {
		if err := os.Rename(filepath.Join(partial, p), filepath.Join(j.into, p)); err != nil {
			return err
		}
	}
	b.Log("building %s took %s", j.dir, time.Since(start).Round(time.Second))
	return nil
}

func (b *Builder) components() string { return filepath.Join(b.Module, "components") }

// build builds packages of a module into a folder.
func (b *Builder) build(ctx context.Context, module, into, ldflags string, packages ...string) error {
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-ldflags", ldflags, "-o", into + "/"}, packages...)...)
	cmd.Dir = module
	// Static programs run on every host and in images without a C library.
	// The compiler collects its garbage less often, which saves a seventh of its time.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOGC=200", "PWD="+module)
	// Ctrl-C is for us; the compiler's processes end with the go command.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", module, err, bytes.TrimSpace(out))
	}
	return nil
}

func (b *Builder) goVersion(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH")
	cmd.Dir = b.Module
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", fmt.Errorf("asking for Go's version: %w\n%s", err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("asking for Go's version (install Go from https://go.dev/dl and add it to PATH): %w", err)
	}
	return strings.Join(strings.Fields(string(out)), " "), nil
}

// lock keeps two builds into one directory from meeting.
func (b *Builder) lock() (func(), error) {
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the folder for programs: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", b.Dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		b.Log("waiting for another build into %s", b.Dir)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", b.Dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/sys/unix"

	"github.com/space-dra/space-dra-driver/test/cluster/flock"
)

// own is the directory of programs of this module.
const own = "own"

// ownPrograms returns the programs that are built from this module.
func ownPrograms() []string {
	return []string{"space-cluster", "printenv", "in-cluster-client", "repeat-client", "netprobe"}
}

// Builder builds programs into a directory.
type Builder struct {
	// Module is the directory of this module.
	Module string
	// Dir is the directory of the programs, which has a subdirectory for each version.
	Dir string
	// Kubernetes is the version to build. Empty: the newest.
	Kubernetes string
	// Log logs progress.
	Log func(format string, args ...any)
}

// Build builds missing programs, and returns the path of each program, including those of this module.
func (b *Builder) Build(ctx context.Context, programs ...string) (map[string]string, error) {
	unlock, err := flock.Lock(ctx, filepath.Join(b.Dir, ".lock"), func() { b.Log("waiting for another build into %s", b.Dir) })
	if err != nil {
		return nil, err
	}
	defer unlock()

	paths, jobs, err := b.locate(programs)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if err := b.buildMissing(ctx, j); err != nil {
			return nil, fmt.Errorf("build %s: %w", j.dir, err)
		}
	}
	// The go command decides which of these are stale.
	dir := filepath.Join(b.Dir, own)
	var packages []string
	for _, name := range ownPrograms() {
		packages = append(packages, "./cmd/"+name)
		paths[name] = filepath.Join(dir, name)
	}
	if err := build(ctx, b.Module, dir, "-s -w", "", packages); err != nil {
		return nil, fmt.Errorf("build the cluster's own programs: %w", err)
	}
	return paths, nil
}

// job is a component of which programs are missing.
type job struct {
	component

	version, ldflags string
	into             string
	// missing are the packages of the programs.
	missing []string
}

// locate returns the paths of programs, and the jobs that build missing ones.
func (b *Builder) locate(programs []string) (paths map[string]string, jobs []job, err error) {
	paths = map[string]string{}
	for _, c := range components(b.Kubernetes) {
		j := job{component: c}
		if j.version, err = c.version(b.components()); err != nil {
			return nil, nil, err
		}
		j.ldflags = "-s -w"
		if c.ldflags != nil {
			j.ldflags += " " + c.ldflags(j.version)
		}
		key, err := b.key(j)
		if err != nil {
			return nil, nil, err
		}
		j.into = filepath.Join(b.Dir, fmt.Sprintf("%s-%s-%s", j.dir, j.version, key))
		for _, pkg := range c.packages {
			program := path.Base(pkg)
			if !slices.Contains(programs, program) {
				continue
			}
			paths[program] = filepath.Join(j.into, program)
			if _, err := os.Stat(paths[program]); err != nil {
				j.missing = append(j.missing, pkg)
			}
		}
		if len(j.missing) > 0 {
			jobs = append(jobs, j)
		}
	}
	return paths, jobs, nil
}

// key returns a hash of everything that a component's programs depend on.
func (b *Builder) key(j job) (string, error) {
	files, err := dirhash.HashDir(filepath.Join(b.components(), j.dir), j.dir, dirhash.Hash1)
	if err != nil {
		return "", fmt.Errorf("read component %s: %w", j.dir, err)
	}
	// The programs are built with the Go that built this one.
	sum := sha256.Sum256([]byte(runtime.Version() + runtime.GOARCH + j.ldflags + j.cgoTags + files))
	return hex.EncodeToString(sum[:5]), nil
}

func (b *Builder) buildMissing(ctx context.Context, j job) error {
	if err := RequireDisk(b.Dir, 6); err != nil {
		return err
	}
	start := time.Now()
	b.Log("building %s %s (first time: %s) ...", j.dir, j.version, j.firstTime)
	partial := j.into + ".partial"
	defer func() { _ = os.RemoveAll(partial) }()
	if err := build(ctx, filepath.Join(b.components(), j.dir), partial, j.ldflags, j.cgoTags, j.missing); err != nil {
		return err
	}
	if err := os.MkdirAll(j.into, 0o755); err != nil {
		return err
	}
	// Incomplete programs never have their final path.
	for _, pkg := range j.missing {
		if err := os.Rename(filepath.Join(partial, path.Base(pkg)), filepath.Join(j.into, path.Base(pkg))); err != nil {
			return err
		}
	}
	b.Log("building %s took %s", j.dir, time.Since(start).Round(time.Second))
	return nil
}

func (b *Builder) components() string { return filepath.Join(b.Module, "components") }

// build builds packages of a module into a folder, with C if there are tags for that.
func build(ctx context.Context, module, into, ldflags, cgoTags string, packages []string) error {
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-ldflags", ldflags, "-tags", cgoTags, "-o", into + "/"}, packages...)...)
	cmd.Dir = module
	cgo := "0" // Static programs run on every host and in images without a C library.
	if cgoTags != "" {
		cgo = "1"
	}
	// The compiler collects its garbage less often, which saves a seventh of its time.
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOWORK=off", "GOGC=200", "PWD="+module)
	// The compiler's processes exit with the go command.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", module, err, bytes.TrimSpace(out))
	}
	return nil
}

// RequireDisk creates a directory, and returns an error if its file system has fewer free GiB.
func RequireDisk(dir string, need int) error {
	const gibibyte = 1 << 30
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("read the free space in %s: %w", dir, err)
	}
	free := float64(fs.Bavail) * float64(fs.Bsize) / gibibyte
	if free < float64(need) {
		return fmt.Errorf("%.1f GiB are free in %s, %d GiB are needed: free some space, for example with go clean -cache", free, dir, need)
	}
	return nil
}

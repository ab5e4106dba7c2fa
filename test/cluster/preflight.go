// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
)

const (
	gibibyte       = 1 << 30
	diskToBuild    = 6 * gibibyte
	diskToRun      = 2 * gibibyte
	debianInstalls = "apt-get update && apt-get install --yes --no-install-recommends "
)

// preflight finds out what the machine lacks before anything is started.
func preflight(ctx context.Context, cfg Config, builder *binaries.Builder) error {
	if err := requireRoot(); err != nil {
		return err
	}
	problems := []error{requireTools(cfg), requireCgroups(), requireGo(ctx, builder)}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	missing, err := builder.Missing(ctx, cfg.programs()...)
	if err != nil {
		return err
	}
	need := int64(diskToRun)
	if len(missing) > 0 {
		need = diskToBuild
	}
	return errors.Join(requireDisk(cfg.BuildDir, need), requireDisk(filepath.Dir(dataRoot), diskToRun))
}

func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster of Linux namespaces needs root: run the command with sudo -E env PATH=$PATH")
	}
	return nil
}

// requireTools looks for the programs that aren't built from Go modules.
func requireTools(cfg Config) error {
	packages := map[string]string{"nsenter": "util-linux"}
	if cfg.Nodes > 0 {
		packages["runc"] = "runc"
		packages["iptables"] = "iptables"
		packages["iptables-restore"] = "iptables"
		packages["ip6tables"] = "iptables"
		packages["mount"] = "mount"
	}
	var tools, install []string
	for tool, pkg := range packages {
		if _, err := exec.LookPath(tool); err != nil {
			tools = append(tools, tool)
			install = append(install, pkg)
		}
	}
	if _, err := findBusybox(); err != nil && cfg.Nodes > 0 {
		tools = append(tools, "busybox (static)")
		install = append(install, "busybox-static")
	}
	if len(tools) == 0 {
		return nil
	}
	return fmt.Errorf("missing: %s. On Debian: %s", listOf(tools), debianInstalls+strings.Join(sorted(install), " "))
}

func requireCgroups() error {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if unix.Access(h.Path, unix.W_OK) == nil {
			return nil
		}
	}
	return errors.New("no writable cgroup hierarchy is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
}

func requireGo(ctx context.Context, builder *binaries.Builder) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("missing: go. Install it from https://go.dev/dl and add it to PATH")
	}
	cmd := exec.CommandContext(ctx, "go", "version")
	// The go command reads the version that it needs from go.mod.
	cmd.Dir = filepath.Join(builder.Module, "components", "containerd")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go is too old: %s. Install a newer one from https://go.dev/dl", strings.TrimSpace(string(out)))
	}
	return nil
}

// requireDisk looks at the closest directory that's there.
func requireDisk(dir string, need int64) error {
	at := dir
	var fs unix.Statfs_t
	for {
		err := unix.Statfs(at, &fs)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || at == "/" {
			return fmt.Errorf("asking for free space in %s: %w", at, err)
		}
		at = filepath.Dir(at)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if free < need {
		return fmt.Errorf("%.1f GiB are free in %s, %d GiB are needed: make room, for example with go clean -cache", float64(free)/gibibyte, at, need/gibibyte)
	}
	return nil
}

func sorted(values []string) []string {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}

func listOf(values []string) string { return strings.Join(sorted(values), ", ") }

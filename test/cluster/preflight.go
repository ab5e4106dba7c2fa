// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
)

const (
	gibibyte       = 1 << 30
	diskToBuild    = 6 * gibibyte
	diskToRun      = 2 * gibibyte
	debianInstalls = "apt-get update && apt-get install --yes --no-install-recommends "
)

// preflight checks what the machine lacks before anything is started.
func preflight(ctx context.Context, cfg Config, builder *binaries.Builder) error {
	if err := requireRoot(); err != nil {
		return err
	}
	if err := errors.Join(requireTools(cfg), requireCgroups()); err != nil {
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
	return errors.Join(requireDisk(cfg.BuildDir, need), requireDisk(dataRoot, diskToRun))
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
	tools, install := sets.New[string](), sets.New[string]()
	for tool, pkg := range packages {
		if _, err := exec.LookPath(tool); err != nil {
			tools.Insert(tool)
			install.Insert(pkg)
		}
	}
	if _, err := findBusybox(); err != nil && cfg.Nodes > 0 {
		tools.Insert("busybox (static)")
		install.Insert("busybox-static")
	}
	if len(tools) == 0 {
		return nil
	}
	return fmt.Errorf("missing: %s. On Debian: %s", strings.Join(sets.List(tools), ", "), debianInstalls+strings.Join(sets.List(install), " "))
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

func requireDisk(dir string, need int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("reading the free space in %s: %w", dir, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if free < need {
		return fmt.Errorf("%.1f GiB are free in %s, %d GiB are needed: make room, for example with go clean -cache", float64(free)/gibibyte, dir, need/gibibyte)
	}
	return nil
}

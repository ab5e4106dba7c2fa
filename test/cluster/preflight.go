// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
)

const debianInstalls = "apt-get update && apt-get install --yes --no-install-recommends "

// preflight checks the requirements of the machine before anything is built or started.
func preflight(cfg Config) error {
	if err := requireRoot(); err != nil {
		return err
	}
	_, err := cgroup.Hierarchies()
	return errors.Join(requireTools(cfg), err, binaries.RequireDisk(dataRoot, 2))
}

func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster of Linux namespaces needs root: run the command with sudo -E env PATH=$PATH")
	}
	return nil
}

// requireTools checks for the programs that are not built from Go modules.
func requireTools(cfg Config) error {
	packages := map[string]string{"nsenter": "util-linux"}
	if cfg.Nodes > 0 {
		packages["pkg-config"] = "pkg-config"
		packages["iptables"] = "iptables"
		packages["iptables-restore"] = "iptables"
		packages["ip6tables"] = "iptables"
		packages["mount"] = "mount"
	}
	if cfg.NetworkPolicies {
		packages["ipset"] = "ipset"
	}
	tools, install := sets.New[string](), sets.New[string]()
	for tool, pkg := range packages {
		if _, err := exec.LookPath(tool); err != nil {
			tools.Insert(tool)
			install.Insert(pkg)
		}
	}
	if err := exec.Command("pkg-config", "--exists", "libseccomp").Run(); err != nil && cfg.Nodes > 0 {
		tools.Insert("libseccomp (for runc)")
		install.Insert("libseccomp-dev")
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

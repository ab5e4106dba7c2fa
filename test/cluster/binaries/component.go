// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package binaries builds the programs that a cluster consists of from Go
// modules, and keeps them by version.
package binaries

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// component is a Go module below components/ whose only purpose is to pin
// something that is built.
type component struct {
	dir string
	// module is the one whose version the component has.
	module string
	// firstTime is how long a build with a cold cache takes.
	firstTime string
	// programs are the names of what is built. The packages are the tools of
	// the component's go.mod, or the component itself where it has none.
	programs []string
	// ldflags stamp the version.
	ldflags func(version string) string

	// version and packages, by program, are those of go.mod.
	version  string
	packages map[string]string
}

func components() []component {
	return []component{
		{
			dir: "kubernetes", module: "k8s.io/kubernetes", firstTime: "about 5 minutes on 2 cores",
			programs: []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy"},
			ldflags:  kubernetesFlags,
		},
		{
			dir: "etcd", module: "go.etcd.io/etcd/server/v3", firstTime: "about 20 seconds",
			programs: []string{"etcd"},
		},
		{
			dir: "containerd", module: "github.com/containerd/containerd/v2", firstTime: "about 1 minute",
			programs: []string{"containerd", "containerd-shim-runc-v2", "ctr"},
			ldflags: func(version string) string {
				return "-X github.com/containerd/containerd/v2/version.Version=" + version
			},
		},
		{
			dir: "cni", module: "github.com/containernetworking/plugins", firstTime: "about 15 seconds",
			programs: []string{"host-local", "loopback", "portmap", "ptp"},
		},
		{
			dir: "helm", module: "helm.sh/helm/v4", firstTime: "about a minute",
			programs: []string{"helm"},
			ldflags: func(version string) string {
				return "-X helm.sh/helm/v4/internal/version.version=" + version
			},
		},
	}
}

// All returns the names of everything that can be built.
func All() []string {
	var names []string
	for _, c := range components() {
		names = append(names, c.programs...)
	}
	return names
}

// ControlPlane returns the programs that a control plane needs.
func ControlPlane() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
}

// kubernetesFlags set what clients see as the version of the server.
func kubernetesFlags(version string) string {
	const pkg = "k8s.io/component-base/version."
	flags := []string{"-X " + pkg + "gitVersion=" + version, "-X " + pkg + "gitTreeState=clean"}
	if numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3); len(numbers) == 3 {
		flags = append(flags, "-X "+pkg+"gitMajor="+numbers[0], "-X "+pkg+"gitMinor="+numbers[1])
	}
	return strings.Join(flags, " ")
}

// flags are those of the linker.
func (c *component) flags() string {
	flags := "-s -w"
	if c.ldflags != nil {
		flags += " " + c.ldflags(c.version)
	}
	return flags
}

// readModule reads the version and the packages from the component's go.mod.
func (c *component) readModule(root string) error {
	file := filepath.Join(root, c.dir, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the versions of %s: %w", c.dir, err)
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		return fmt.Errorf("reading the versions of %s: %w", c.dir, err)
	}
	for _, r := range mod.Require {
		if r.Mod.Path == c.module {
			c.version = r.Mod.Version
		}
	}
	if c.version == "" {
		return fmt.Errorf("reading the versions of %s: %s does not require %s", c.dir, file, c.module)
	}
	c.packages = map[string]string{}
	for _, t := range mod.Tool {
		c.packages[path.Base(t.Path)] = t.Path
	}
	if len(mod.Tool) == 0 {
		c.packages[c.dir] = "."
	}
	for _, program := range c.programs {
		if c.packages[program] == "" {
			return fmt.Errorf("reading the versions of %s: %s has no tool directive for %s", c.dir, file, program)
		}
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package binaries builds the programs of a cluster from Go modules, and keeps them by version.
package binaries

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Programs that only a cluster with NetworkPolicies needs.
const (
	kubeRouter = "kube-router"
	coreDNS    = "coredns"
)

// component is a Go module below components/, which only pins the version of programs.
type component struct {
	dir string
	// module is the module that determines the version.
	module string
	// firstTime is the time of a build without a cache.
	firstTime string
	// packages are the main packages. The last element of each path is the program's name.
	packages []string
	// ldflags set the version.
	ldflags func(version string) string
	// cgoTags are build tags, of a program that needs a C compiler and libseccomp.
	cgoTags string
}

// components returns the components of a cluster. kubernetes is one of the versions with their own
// directory, or empty for the newest.
func components(kubernetes string) []component {
	dir := "kubernetes"
	if kubernetes != "" {
		dir += "-" + kubernetes
	}
	return []component{
		{
			dir: dir, module: "k8s.io/kubernetes", firstTime: "about 5 minutes on 2 cores",
			packages: []string{
				"k8s.io/kubernetes/cmd/kube-apiserver",
				"k8s.io/kubernetes/cmd/kube-controller-manager",
				"k8s.io/kubernetes/cmd/kube-scheduler",
				"k8s.io/kubernetes/cmd/kubectl",
				"k8s.io/kubernetes/cmd/kubelet",
				"k8s.io/kubernetes/cmd/kube-proxy",
			},
			ldflags: kubernetesFlags,
		},
		{
			dir: "etcd", module: "go.etcd.io/etcd/server/v3", firstTime: "about 20 seconds",
			packages: []string{"github.com/space-dra/space-dra-driver/test/cluster/components/etcd"},
		},
		{
			dir: "containerd", module: "github.com/containerd/containerd/v2", firstTime: "about 1 minute",
			packages: []string{
				"github.com/containerd/containerd/v2/cmd/containerd",
				"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
				"github.com/containerd/containerd/v2/cmd/ctr",
			},
			ldflags: func(version string) string {
				return "-X github.com/containerd/containerd/v2/version.Version=" + version
			},
		},
		{
			dir: "runc", module: "github.com/opencontainers/runc", firstTime: "about 10 seconds",
			packages: []string{"github.com/opencontainers/runc"},
			// Without it, no container starts: all have a seccomp profile.
			cgoTags: "seccomp",
		},
		{
			dir: "cni", module: "github.com/containernetworking/plugins", firstTime: "about 15 seconds",
			packages: []string{
				"github.com/containernetworking/plugins/plugins/ipam/host-local",
				"github.com/containernetworking/plugins/plugins/main/loopback",
				"github.com/containernetworking/plugins/plugins/main/ptp",
				"github.com/containernetworking/plugins/plugins/meta/portmap",
			},
		},
		{
			dir: "helm", module: "helm.sh/helm/v4", firstTime: "about a minute",
			packages: []string{"helm.sh/helm/v4/cmd/helm"},
			ldflags: func(version string) string {
				return "-X helm.sh/helm/v4/internal/version.version=" + version
			},
		},
		{
			dir: kubeRouter, module: "github.com/cloudnativelabs/kube-router/v2", firstTime: "about 10 seconds after Kubernetes",
			packages: []string{"github.com/space-dra/space-dra-driver/test/cluster/components/" + kubeRouter},
		},
		{
			dir: coreDNS, module: "github.com/coredns/coredns", firstTime: "about 20 seconds after Kubernetes",
			packages: []string{"github.com/space-dra/space-dra-driver/test/cluster/components/" + coreDNS},
		},
	}
}

// All returns the names of all programs.
func All() []string {
	var names []string
	for _, c := range components("") {
		for _, pkg := range c.packages {
			names = append(names, path.Base(pkg))
		}
	}
	return names
}

// WithoutNetworkPolicies returns the programs of a cluster that does not enforce NetworkPolicies.
func WithoutNetworkPolicies() []string {
	return slices.DeleteFunc(All(), func(name string) bool { return name == kubeRouter || name == coreDNS })
}

// ControlPlane returns the programs that a control plane needs.
func ControlPlane() []string {
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
}

// kubernetesFlags set the version that the server reports to clients.
func kubernetesFlags(version string) string {
	const pkg = "k8s.io/component-base/version."
	flags := []string{"-X " + pkg + "gitVersion=" + version, "-X " + pkg + "gitTreeState=clean"}
	if numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3); len(numbers) == 3 {
		flags = append(flags, "-X "+pkg+"gitMajor="+numbers[0], "-X "+pkg+"gitMinor="+numbers[1])
	}
	return strings.Join(flags, " ")
}

// version reads the version of the component from its go.mod.
func (c component) version(root string) (string, error) {
	file := filepath.Join(root, c.dir, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", c.dir, err)
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", c.dir, err)
	}
	for _, r := range mod.Require {
		if r.Mod.Path == c.module {
			return r.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("read the version of %s: %s does not require %s", c.dir, file, c.module)
}

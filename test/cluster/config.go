// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a real Kubernetes cluster on one Linux machine without
// a container engine: programs built from Go modules, and hosts that are sets
// of Linux namespaces. See README.md for how it is put together.
package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/space-dra/space-dra-driver/test/cluster/binaries"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

// DefaultName is the name of the cluster that the demo uses.
const DefaultName = "space-dra"

// DefaultKubeletDir is the kubelet's own default.
const DefaultKubeletDir = "/var/lib/kubelet"

// moduleDir is the directory of this module in the repository.
const moduleDir = "test/cluster"

// maxNameLength keeps the names of hosts short enough for a label's value, which is
// at most 63 characters.
const maxNameLength = 63 - len(controlPlaneSuffix)

// Config configures a cluster.
type Config struct {
	// Name identifies the cluster on this machine. Nodes are called
	// <name>-worker, <name>-worker2 and so on.
	Name string
	// Nodes is the number of nodes; with 0 there is only a control plane.
	Nodes int
	// BuildDir is a directory in the repository's root, for built programs.
	BuildDir string
	// Kubernetes is one of the versions in components/kubernetes-*, such as 1.34.5, or
	// empty for the newest.
	Kubernetes string
	// FeatureGates are set in the control plane and the kubelets. They are for tests
	// that need the behavior of an older version.
	FeatureGates map[string]bool
	// APIServerFlags and ControllerManagerFlags are added to those of kube-apiserver and
	// kube-controller-manager.
	APIServerFlags         []string
	ControllerManagerFlags []string
	// NetworkPolicies enforces NetworkPolicies, with kube-router, and adds DNS, with CoreDNS. It needs
	// nodes.
	NetworkPolicies bool
	// KubeletDir is the kubelets' root directory, below /var. The default is
	// DefaultKubeletDir.
	KubeletDir string
	// Kubeconfig is the path of the administrator's kubeconfig. The default is in BuildDir: kubeconfig
	// for the default name, <name>.kubeconfig for others.
	Kubeconfig string
	// Log logs progress. Nil: no log.
	Log func(format string, args ...any) `json:"-"`
}

// DefaultConfig returns the configuration of the demo's cluster, in the repository that contains the
// working directory. The environment variable K8S sets the version of Kubernetes.
func DefaultConfig() Config {
	cfg := Config{Name: DefaultName, Nodes: 2, Kubernetes: os.Getenv("K8S")}
	if root, err := repositoryRoot(); err == nil {
		cfg.BuildDir = filepath.Join(root, "build")
	}
	return cfg
}

// repositoryRoot returns the root of the repository that contains the working directory.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, moduleDir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("not inside the repository: change to its directory first")
		}
		dir = parent
	}
}

var validName = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)

// complete validates the configuration and sets defaults.
func (c Config) complete() (Config, error) {
	if len(c.Name) > maxNameLength || !validName.MatchString(c.Name) {
		return c, fmt.Errorf("cluster name %q must be at most %d lower-case letters, digits and dashes, and begin with a letter", c.Name, maxNameLength)
	}
	if c.Nodes < 0 || c.Nodes > network.MaxNodes {
		return c, fmt.Errorf("number of nodes is %d, must be 0 to %d", c.Nodes, network.MaxNodes)
	}
	if c.NetworkPolicies && c.Nodes == 0 {
		return c, errors.New("NetworkPolicies are enforced on nodes, and the cluster has none")
	}
	if c.BuildDir == "" {
		return c, errors.New("no directory for programs: change to the repository, or set one")
	}
	if c.KubeletDir == "" {
		c.KubeletDir = DefaultKubeletDir
	}
	// Hosts share the rest of the file system with the machine.
	if !strings.HasPrefix(c.KubeletDir, "/var/") || filepath.Clean(c.KubeletDir) != c.KubeletDir {
		return c, fmt.Errorf("directory of the kubelets is %q, must be a clean path below /var", c.KubeletDir)
	}
	if c.Kubeconfig == "" {
		c.Kubeconfig = filepath.Join(c.BuildDir, "kubeconfig")
		if c.Name != DefaultName {
			c.Kubeconfig = filepath.Join(c.BuildDir, c.Name+".kubeconfig")
		}
	}
	var err error
	if c.Kubeconfig, err = filepath.Abs(c.Kubeconfig); err != nil {
		return c, fmt.Errorf("find the kubeconfig: %w", err)
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return c, nil
}

// Builder returns the builder of the cluster's programs.
func (c Config) Builder() (*binaries.Builder, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	return &binaries.Builder{Module: filepath.Join(c.root(), moduleDir), Dir: c.binDir(), Kubernetes: c.Kubernetes, Log: c.Log}, nil
}

// root returns the root of the repository.
func (c Config) root() string { return filepath.Dir(c.BuildDir) }

// binDir returns the directory of the programs, which has a subdirectory for each version.
func (c Config) binDir() string { return filepath.Join(c.BuildDir, "cluster", "bin") }

// programs returns the programs that a cluster of this size needs.
func (c Config) programs() []string {
	if c.Nodes == 0 {
		return binaries.ControlPlane()
	}
	if !c.NetworkPolicies {
		return binaries.WithoutNetworkPolicies()
	}
	return binaries.All()
}

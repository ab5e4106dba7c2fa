// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

const (
	// runRoot holds sockets and state. Its paths are short because those of
	// Unix sockets are limited; it's empty after the machine's reboot.
	runRoot = "/run/space-cluster"
	// dataRoot holds what's large.
	dataRoot = "/var/lib/space-cluster"
)

// ErrNotFound says that there's no cluster of the name.
var ErrNotFound = errors.New("no such cluster")

// role is what a host is for.
type role string

const (
	roleControlPlane role = "control-plane"
	roleNode         role = "node"
)

// hostRecord is what's remembered of a host.
type hostRecord struct {
	Name string `json:"name"`
	Role role   `json:"role"`
	// Number counts nodes from 1.
	Number    int                `json:"number,omitempty"`
	Address   netip.Addr         `json:"address"`
	PodCIDR   netip.Prefix       `json:"podCIDR,omitzero"`
	Spec      hostinit.Spec      `json:"spec"`
	Processes []hostinit.Process `json:"processes"`
}

// record is what's remembered of a cluster.
type record struct {
	Name string `json:"name"`
	// Complete is set when the cluster was ready once. Without it, creating it
	// was interrupted.
	Complete     bool            `json:"complete"`
	Nodes        int             `json:"nodes"`
	FeatureGates map[string]bool `json:"featureGates,omitempty"`
	// ControllerManagerFlags are as in Config.
	ControllerManagerFlags []string `json:"controllerManagerFlags,omitempty"`
	KubeletDir             string   `json:"kubeletDir"`
	Kubeconfig             string   `json:"kubeconfig"`
	// BinDir is where the programs are, each below a folder for its version.
	BinDir   string            `json:"binDir"`
	Binaries map[string]string `json:"binaries"`
	Subnet   netip.Prefix      `json:"subnet"`
	Hosts    []hostRecord      `json:"hosts"`
}

func (r *record) subnet() network.Subnet { return network.Subnet{Prefix: r.Subnet} }

// differs says what about a running cluster isn't as configured.
func (r *record) differs(cfg Config) error {
	switch {
	case r.Nodes != cfg.Nodes:
		return fmt.Errorf("cluster %s is running with %d nodes, not %d: delete it first", r.Name, r.Nodes, cfg.Nodes)
	case !slices.Equal(r.ControllerManagerFlags, cfg.ControllerManagerFlags):
		return fmt.Errorf("cluster %s is running with the flags %v of kube-controller-manager, not %v: delete it first", r.Name, r.ControllerManagerFlags, cfg.ControllerManagerFlags)
	case !maps.Equal(r.FeatureGates, cfg.FeatureGates):
		return fmt.Errorf("cluster %s is running with feature gates %v, not %v: delete it first", r.Name, r.FeatureGates, cfg.FeatureGates)
	case r.KubeletDir != cfg.KubeletDir:
		return fmt.Errorf("cluster %s is running with its kubelets in %s, not %s: delete it first", r.Name, r.KubeletDir, cfg.KubeletDir)
	case r.Kubeconfig != cfg.Kubeconfig:
		return fmt.Errorf("cluster %s is running with its kubeconfig at %s, not %s: delete it first", r.Name, r.Kubeconfig, cfg.Kubeconfig)
	}
	return nil
}

func runDir(cluster string) string     { return filepath.Join(runRoot, cluster) }
func dataDir(cluster string) string    { return filepath.Join(dataRoot, cluster) }
func recordFile(cluster string) string { return filepath.Join(runDir(cluster), "cluster.json") }

func specFile(cluster, host string) string {
	return filepath.Join(runDir(cluster), host+".json")
}

// load returns ErrNotFound when there's no record.
func load(cluster string) (*record, error) {
	data, err := os.ReadFile(recordFile(cluster))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cluster %s: %w", cluster, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the record of cluster %s: %w", cluster, err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading the record of cluster %s: %w", cluster, err)
	}
	return &r, nil
}

func (r *record) save() error {
	return writeJSON(recordFile(r.Name), r)
}

// writeJSON replaces a file as a whole.
func writeJSON(file string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	partial := file + ".partial"
	if err := os.WriteFile(partial, data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.Rename(partial, file); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// lock keeps two commands from working on one cluster at the same time.
func lock(ctx context.Context, cfg Config) (unlock func(), err error) {
	file := filepath.Join(runRoot, cfg.Name+".lock")
	said := false
	for {
		if err := os.Mkdir(runRoot, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("locking cluster %s: %w", cfg.Name, err)
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			continue // The command that unlocked the last other cluster has removed the directory.
		}
		if err != nil {
			return nil, fmt.Errorf("locking cluster %s: %w", cfg.Name, err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && isCurrent(f, file) {
			return func() {
				_ = os.Remove(file)
				// Fails while there are other clusters, as it should.
				_ = os.Remove(runRoot)
				_ = f.Close()
			}, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking cluster %s: %w", cfg.Name, err)
		}
		if !said {
			cfg.Log("waiting for another command that works on cluster %s", cfg.Name)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("locking cluster %s: %w", cfg.Name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// isCurrent says whether an open file is the one that has its name: whoever
// held the lock before may have removed it.
func isCurrent(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(opened, named)
}

func readJSON(file string, value any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/space-dra/space-dra-driver/test/cluster/flock"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

const (
	// runRoot contains the records of clusters. It is empty after a reboot of the machine.
	runRoot = "/run/space-cluster"
	// lockRoot contains locks, empty files that remain when a cluster is deleted.
	lockRoot = "/run/lock/space-cluster"
	// dataRoot contains the files of hosts.
	dataRoot = "/var/lib/space-cluster"
)

// ErrNotFound is the error if a cluster does not exist.
var ErrNotFound = errors.New("no such cluster")

// record is the persistent state of a cluster.
type record struct {
	Config

	// Complete is set when the cluster is ready for the first time. Otherwise, its creation was
	// interrupted.
	Complete bool              `json:"complete"`
	Binaries map[string]string `json:"binaries"`
	Subnet   netip.Prefix      `json:"subnet"`
}

func (r *record) subnet() network.Subnet { return network.Subnet{Prefix: r.Subnet} }

// checkConfig returns an error if the running cluster has another configuration.
func (r *record) checkConfig(cfg Config) error {
	cfg.Log = nil
	if !equality.Semantic.DeepEqual(r.Config, cfg) {
		return fmt.Errorf("cluster %s is running with other settings, %+v instead of %+v: delete it first", r.Name, r.Config, cfg)
	}
	return nil
}

func recordFile(cluster string) string { return filepath.Join(runRoot, cluster+".json") }

// load returns ErrNotFound if the cluster has no record.
func load(cluster string) (*record, error) {
	data, err := os.ReadFile(recordFile(cluster))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cluster %s: %w", cluster, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of cluster %s: %w", cluster, err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read the record of cluster %s: %w", cluster, err)
	}
	return &r, nil
}

// save writes the record atomically.
func (r *record) save() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("record cluster %s: %w", r.Name, err)
	}
	if err := os.MkdirAll(runRoot, 0o755); err != nil {
		return fmt.Errorf("record cluster %s: %w", r.Name, err)
	}
	partial := recordFile(r.Name) + ".partial"
	if err := os.WriteFile(partial, data, 0o600); err != nil {
		return fmt.Errorf("record cluster %s: %w", r.Name, err)
	}
	if err := os.Rename(partial, recordFile(r.Name)); err != nil {
		return fmt.Errorf("record cluster %s: %w", r.Name, err)
	}
	return nil
}

// saveWithSubnet chooses a subnet that neither the machine nor another recorded cluster uses, and saves
// the record. Clusters that are created at the same time have no interfaces on the machine yet.
func (r *record) saveWithSubnet(ctx context.Context) error {
	unlock, err := flock.Lock(ctx, filepath.Join(lockRoot, ".subnets"), func() {})
	if err != nil {
		return err
	}
	defer unlock()
	used, err := network.UsedSubnets()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(recordFile("*"))
	if err != nil {
		return fmt.Errorf("list the records of clusters: %w", err)
	}
	for _, file := range files {
		// A cluster may be deleted meanwhile.
		if other, err := load(strings.TrimSuffix(filepath.Base(file), ".json")); err == nil {
			used = append(used, other.Subnet)
		}
	}
	subnet, err := network.ChooseSubnet(used)
	if err != nil {
		return err
	}
	r.Subnet = subnet.Prefix
	return r.save()
}

// lock prevents two commands from changing a cluster at the same time.
func lock(ctx context.Context, cfg Config) (unlock func(), err error) {
	return flock.Lock(ctx, filepath.Join(lockRoot, cfg.Name), func() {
		cfg.Log("waiting for another command that works on cluster %s", cfg.Name)
	})
}

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

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/space-dra/space-dra-driver/test/cluster/flock"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

const (
	// runRoot holds the records of clusters. It is empty after the machine's reboot.
	runRoot = "/run/space-cluster"
	// lockRoot holds locks, empty files that stay when a cluster is deleted.
	lockRoot = "/run/lock/space-cluster"
	// dataRoot holds what is large.
	dataRoot = "/var/lib/space-cluster"
)

// ErrNotFound is the error when there is no cluster of the name.
var ErrNotFound = errors.New("no such cluster")

// record is the persistent state of a cluster. All else follows from it.
type record struct {
	Config

	// Complete is set when the cluster was ready once. Without it, creating it
	// was interrupted.
	Complete bool              `json:"complete"`
	Binaries map[string]string `json:"binaries"`
	Subnet   netip.Prefix      `json:"subnet"`
}

func (r *record) subnet() network.Subnet { return network.Subnet{Prefix: r.Subnet} }

// checkConfig fails when a running cluster is configured otherwise.
func (r *record) checkConfig(cfg Config) error {
	cfg.Log = nil
	if !equality.Semantic.DeepEqual(r.Config, cfg) {
		return fmt.Errorf("cluster %s is running with other settings, %+v in place of %+v: delete it first", r.Name, r.Config, cfg)
	}
	return nil
}

func recordFile(cluster string) string { return filepath.Join(runRoot, cluster+".json") }

// load returns ErrNotFound when there is no record.
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

// save replaces the record as a whole.
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

// lock keeps two commands from working on one cluster at the same time.
func lock(ctx context.Context, cfg Config) (unlock func(), err error) {
	return flock.Lock(ctx, filepath.Join(lockRoot, cfg.Name), func() {
		cfg.Log("waiting for another command that works on cluster %s", cfg.Name)
	})
}

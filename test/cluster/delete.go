// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/space-dra/space-dra-driver/test/cluster/cgroup"
	"github.com/space-dra/space-dra-driver/test/cluster/network"
)

// Delete deletes the cluster, except the built programs and an empty lock file. It is not an error if
// the cluster does not exist.
func (c *Cluster) Delete(ctx context.Context) error { return Delete(ctx, c.rec.Config) }

// Delete deletes the cluster with a name, in any state.
func Delete(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	if err := requireRoot(); err != nil {
		return err
	}
	unlock, err := lock(ctx, cfg)
	if err != nil {
		return err
	}
	defer unlock()

	rec, err := load(cfg.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		cfg.Log("there is no cluster %s", cfg.Name)
	case err != nil:
		// The record is damaged, but not needed.
		cfg.Log("%v", err)
	}
	if err := destroy(ctx, cfg.Name); err != nil {
		return fmt.Errorf("delete cluster %s: %w", cfg.Name, err)
	}
	if rec != nil {
		if err := os.Remove(rec.Kubeconfig); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("delete cluster %s: %w", cfg.Name, err)
		}
		cfg.Log("cluster %s is deleted", cfg.Name)
	}
	return nil
}

// destroy finds all parts of a cluster by its name, without the record. It keeps the parent directories
// of all clusters, which another command may be using.
func destroy(ctx context.Context, cluster string) error {
	inits, err := findInits(cluster)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, pid := range inits {
		group.Go(func() error { return kill(ctx, pid) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := network.DisconnectMachine(cluster); err != nil {
		return err
	}
	if err := cgroup.Remove(cgroupRoot(cluster)); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dataDir(cluster)), os.RemoveAll(recordFile(cluster))); err != nil {
		return fmt.Errorf("remove the files of cluster %s: %w", cluster, err)
	}
	return nil
}

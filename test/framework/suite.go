// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// Suite is the cluster of the tests of a package.
type Suite struct {
	// Cluster is the name of the cluster.
	Cluster string
	// KubeletDir is the kubelets' root directory, unless it is their default.
	KubeletDir string
	// NetworkPolicies enforces NetworkPolicies, and adds DNS.
	NetworkPolicies bool
	// ValueFiles are files of values for the chart, relative to the root of the repository.
	ValueFiles []string
}

// Run creates a cluster, installs the driver, sets env to the cluster, runs the tests of a package, and
// exits.
func (s Suite) Run(m *testing.M, env **Env) {
	code, err := s.run(m, env)
	if err != nil {
		fmt.Fprintln(os.Stderr, s.Cluster+":", err)
		code = 1
	}
	os.Exit(code)
}

func (s Suite) run(m *testing.M, env **Env) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := createCluster(ctx, s.Cluster, func(cfg *cluster.Config) {
		cfg.KubeletDir, cfg.NetworkPolicies = s.KubeletDir, s.NetworkPolicies
	})
	if err != nil {
		return 1, err
	}
	defer func() {
		if deleteErr := c.Delete(context.WithoutCancel(ctx)); deleteErr != nil && err == nil {
			err = fmt.Errorf("delete the cluster: %w", deleteErr)
		}
	}()
	if *env, err = NewEnv(c); err != nil {
		return 1, err
	}
	if err := (*env).InstallDriver(ctx, Root(), s.ValueFiles...); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

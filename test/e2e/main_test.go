// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the shipped images and the shipped chart on a real cluster of
// two nodes, and looks at them as a user would.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of this test run; TestMain sets it.
var env *framework.Env

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := cluster.DefaultConfig()
	cfg.Name = "space-e2e"
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, "e2e.kubeconfig")
	cfg.Log = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }

	// What an interrupted run left behind would be taken over otherwise.
	if err := cluster.Delete(ctx, cfg); err != nil {
		return 1, fmt.Errorf("delete the cluster of an earlier run: %w", err)
	}
	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		return 1, fmt.Errorf("create the cluster: %w", err)
	}
	defer func() {
		if deleteErr := c.Delete(context.WithoutCancel(ctx)); deleteErr != nil && err == nil {
			err = fmt.Errorf("delete the cluster: %w", deleteErr)
		}
	}()
	if env, err = framework.NewEnv(c); err != nil {
		return 1, err
	}
	if err := env.InstallDriver(ctx, filepath.Dir(cfg.BuildDir)); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

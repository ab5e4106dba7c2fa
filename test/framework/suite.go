// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// RunSuite runs the tests of a package on a cluster of its own with the driver
// installed, with the values of the files, and sets env to it. It does not return.
func RunSuite(m *testing.M, name string, env **Env, valueFiles ...string) {
	code, err := runSuite(m, name, env, valueFiles)
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		code = 1
	}
	os.Exit(code)
}

func runSuite(m *testing.M, name string, env **Env, valueFiles []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := cluster.DefaultConfig()
	cfg.Name = name
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, name+".kubeconfig")
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
	if *env, err = NewEnv(c); err != nil {
		return 1, err
	}
	if err := (*env).InstallDriver(ctx, filepath.Dir(cfg.BuildDir), valueFiles...); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration runs the shipped controller against a real control plane
// without nodes. The tests play the scheduler themselves: they allocate and
// deallocate claims, so that each step is theirs to choose.
package integration

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the control plane of this test run; TestMain sets it.
var env *framework.Env

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := create(ctx, "space-integration", nil)
	if err != nil {
		return 1, err
	}
	defer func() {
		if deleteErr := c.Delete(context.WithoutCancel(ctx)); deleteErr != nil && err == nil {
			err = fmt.Errorf("delete the control plane: %w", deleteErr)
		}
	}()
	if env, err = framework.NewEnv(c); err != nil {
		return 1, err
	}
	if err := prepare(ctx, env); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// create starts a control plane.
func create(ctx context.Context, name string, gates map[string]bool) (*cluster.Cluster, error) {
	cfg := cluster.DefaultConfig()
	cfg.Name = name
	cfg.Nodes = 0
	cfg.FeatureGates = gates
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, name+".kubeconfig")
	cfg.Log = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	// What an interrupted run left behind would be taken over otherwise.
	if err := cluster.Delete(ctx, cfg); err != nil {
		return nil, fmt.Errorf("delete the control plane of an earlier run: %w", err)
	}
	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("create the control plane: %w", err)
	}
	return c, nil
}

// prepare makes what the chart would have made for the controller.
func prepare(ctx context.Context, env *framework.Env) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: framework.DriverNamespace}}
	if _, err := env.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the controller's namespace: %w", err)
	}
	return nil
}

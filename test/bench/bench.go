// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench measures the driver on clusters of its own, beside what the same cluster
// does without it. What is compared is from one run, in turns, because the load of the
// machine changes. No test depends on a time.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"time"

	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Settings configure how much is measured.
type Settings struct {
	// Cluster is the name of the cluster that each benchmark creates.
	Cluster string
	// Spaces is the number of spaces to create or free in each round, by Parallel requests
	// at the same time.
	Spaces, Parallel int
	// Rounds are counted of each sort, besides one that warms up.
	Rounds int
	// Pods of each sort are started one by one, and Burst at once.
	Pods, Burst int
	// Prepared are the numbers of claims on a node at which the plugin is measured.
	Prepared []int
	// Standing are the numbers of spaces at which the controller is measured, and
	// Others is how many claims of another driver there are besides, at the end.
	Standing []int
	Others   int
	// Nodes are the numbers of simulated nodes at which pools are measured.
	Nodes []int
	// Before has the programs of an earlier commit, which are measured beside those in
	// build/bin by benchmarks that can. Empty: only the latter are.
	Before string
	// Rest is how long a controller at rest is looked at.
	Rest time.Duration
	// Progress is where progress is logged.
	Progress io.Writer
}

// Benchmark measures one thing.
type Benchmark struct {
	Name, About string
	Run         func(ctx context.Context, s Settings) (*report.Report, error)
}

// All returns the benchmarks in the order in which they are run.
func All() []Benchmark {
	return []Benchmark{
		{"throughput", "spaces per second, against a bare loop that writes the same objects", Throughput},
		{"deallocation", "revocation and deletion of many spaces at once, against plain namespaces", Deallocation},
		{"podstart", "start of a pod, with a space and without", PodStart},
		{"node", "the plugin, with ever more prepared claims on its node", Node},
		{"growth", "the controller, with ever more standing spaces", Growth},
		{"manynodes", "start of a pod, with ever more simulated nodes", ManyNodes},
		{"burst", "start of many pods at once, with spaces and without", Burst},
	}
}

func (s Settings) logf(format string, args ...any) { fmt.Fprintf(s.Progress, format+"\n", args...) }

// onControlPlane gives a benchmark an API server without nodes. Flags are for
// kube-controller-manager.
func (s Settings) onControlPlane(ctx context.Context, flags []string, measure func(env *framework.Env) error) error {
	return s.onCluster(ctx, 0, flags, func(env *framework.Env) error {
		if err := env.PrepareForController(ctx); err != nil {
			return err
		}
		return measure(env)
	})
}

// onNodes gives a benchmark a cluster of two nodes with the driver installed.
func (s Settings) onNodes(ctx context.Context, measure func(env *framework.Env) error) error {
	return s.onCluster(ctx, 2, nil, func(env *framework.Env) error {
		if err := env.InstallDriver(ctx, filepath.Dir(cluster.DefaultConfig().BuildDir)); err != nil {
			return err
		}
		return measure(env)
	})
}

func (s Settings) onCluster(ctx context.Context, nodes int, flags []string, measure func(env *framework.Env) error) (err error) {
	cfg := cluster.DefaultConfig()
	cfg.Name, cfg.Nodes, cfg.ControllerManagerFlags = s.Cluster, nodes, flags
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, s.Cluster+".kubeconfig")
	cfg.Log = s.logf
	// Otherwise Create would take over the cluster of an interrupted run.
	if err := cluster.Delete(ctx, cfg); err != nil {
		return fmt.Errorf("delete the cluster of an earlier run: %w", err)
	}
	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		return fmt.Errorf("create a cluster: %w", err)
	}
	defer func() { err = errors.Join(err, c.Delete(context.WithoutCancel(ctx))) }()
	env, err := framework.NewEnv(c)
	if err != nil {
		return err
	}
	// As the driver does, so that neither side is faster by its encoding.
	config, err := c.RESTConfig()
	if err != nil {
		return err
	}
	config.QPS = -1
	if env.Client, err = spaceclient.New(config); err != nil {
		return err
	}
	return measure(env)
}

// withController runs the controller as it is shipped, with its own defaults.
func withController(env *framework.Env, do func() error, args ...string) error {
	controller, err := framework.NewController(env, args...)
	if err != nil {
		return fmt.Errorf("start the controller: %w", err)
	}
	err = do()
	return errors.Join(err, controller.End(syscall.SIGTERM))
}

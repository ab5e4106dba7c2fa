// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench measures the driver on its own clusters, and compares it with baselines in the same
// cluster. A benchmark measures the kinds that it compares in turns, because the load of the machine
// changes. No test depends on a time.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// parallel is the number of requests at the same time. The controller reconciles as many
	// claims at the same time by default.
	parallel = 16
	// patience is the timeout of a step of a benchmark.
	patience = 5 * time.Minute
	// flat is the goal for the ratio of durations with the most and with the fewest objects, for those
	// that must not depend on this number. It allows for other load of the machine.
	flat = 1.5
)

var flags = struct {
	spaces, rounds, pods, burst, others *int
	rest                                *time.Duration
	before                              *string
	prepared, existing, nodes           *numbers
}{
	spaces:   flag.Int("spaces", 100, "throughput, deallocation: spaces in each round"),
	rounds:   flag.Int("rounds", 3, "throughput, deallocation, burst: measured rounds"),
	pods:     flag.Int("pods", 10, "podstart, manynodes, growth, node: pods, spaces or calls that are measured one at a time"),
	burst:    flag.Int("burst", 200, "burst: pods that are created at the same time"),
	prepared: growing("prepared", "node: numbers of prepared claims", 1, 100, 250),
	existing: growing("existing", "growth: numbers of existing spaces", 100, 1000, 5000, 10000),
	others:   flag.Int("others", 5000, "growth: claims of another driver that are added at the end"),
	rest:     flag.Duration("rest", 30*time.Second, "growth: how long the controller is measured at rest, and its resync period"),
	nodes:    growing("nodes", "manynodes: numbers of simulated nodes", 10, 500, 1000),
	before:   flag.String("before", "", "throughput, podstart: directory with an earlier commit, on which \"make build\" has run, to measure in turns with this one"),
}

// numbers is a flag with a list of increasing positive integers, such as 10,100.
type numbers []int

func growing(name, usage string, values ...int) *numbers {
	n := numbers(values)
	flag.Var(&n, name, usage)
	return &n
}

func (n *numbers) String() string { return strings.Trim(fmt.Sprint(*n), "[]") }

func (n *numbers) Set(text string) error {
	*n = nil
	if err := json.Unmarshal([]byte("["+text+"]"), n); err != nil {
		return err
	}
	if len(*n) == 0 || !slices.IsSorted(*n) || (*n)[0] < 1 {
		return errors.New("must be increasing positive numbers, such as 10,100")
	}
	return nil
}

// startReport returns a report. It is written to standard output and build/bench when the
// benchmark ends.
func startReport(b *testing.B, name string) *report {
	b.Helper()
	r := newReport()
	b.Cleanup(func() {
		dir := filepath.Join(cluster.DefaultConfig().BuildDir, "bench")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Error(err)
		}
		file, err := os.Create(filepath.Join(dir, name+".txt"))
		if err != nil {
			b.Error(err)
			return
		}
		fmt.Println()
		if err := errors.Join(r.write(io.MultiWriter(os.Stdout, file)), file.Close()); err != nil {
			b.Error(err)
		}
		fmt.Println()
	})
	return r
}

// controlPlane creates an API server without nodes. The arguments are for
// kube-controller-manager.
func controlPlane(b *testing.B, args ...string) *framework.Env {
	b.Helper()
	env := createCluster(b, 0, args)
	if err := env.PrepareForController(b.Context()); err != nil {
		b.Fatal(err)
	}
	return env
}

// twoNodes creates a cluster of two nodes with the driver installed.
func twoNodes(b *testing.B) *framework.Env {
	b.Helper()
	env := createCluster(b, 2, nil)
	if err := env.InstallDriver(b.Context(), filepath.Dir(cluster.DefaultConfig().BuildDir)); err != nil {
		b.Fatal(err)
	}
	return env
}

func createCluster(b *testing.B, nodes int, controllerManager []string) *framework.Env {
	b.Helper()
	cfg := cluster.DefaultConfig()
	cfg.Name, cfg.Nodes, cfg.ControllerManagerFlags, cfg.Log = "space-bench", nodes, controllerManager, b.Logf
	if err := cluster.Delete(b.Context(), cfg); err != nil {
		b.Fatalf("delete the cluster of a previous run: %v", err)
	}
	c, err := cluster.Create(b.Context(), cfg)
	if err != nil {
		b.Fatalf("create a cluster: %v", err)
	}
	b.Cleanup(func() {
		if err := c.Delete(context.Background()); err != nil {
			b.Errorf("delete the cluster: %v", err)
		}
	})
	env, err := framework.NewEnv(c)
	if err != nil {
		b.Fatal(err)
	}
	return env
}

// each calls f for 0 to n-1 in parallel.
func each(b *testing.B, n int, f func(ctx context.Context, i int) error) {
	b.Helper()
	if err := eachUntil(b.Context(), n, parallel, f); err != nil {
		b.Fatal(err)
	}
}

// eachUntil is like each, until ctx is done.
func eachUntil(ctx context.Context, n, parallel int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// inTurns calls measure for each kind in each round. Each round begins with another kind, because the
// cluster has fewer objects for the first one. Round 0 is a warm-up, and must not be counted. Round 1
// begins with kind 0.
func inTurns(rounds, kinds int, measure func(round, kind int)) {
	for round := range rounds + 1 {
		for i := range kinds {
			measure(round, (i+round+kinds-1)%kinds)
		}
	}
}

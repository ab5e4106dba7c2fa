// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command run runs all benchmarks, or those that the arguments name, and writes their reports
// as text and JSON.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/space-dra/space-dra-driver/test/bench"
	"github.com/space-dra/space-dra-driver/test/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	log.SetLogger(klog.Background())
	s := bench.Settings{Progress: os.Stderr}
	flag.StringVar(&s.Cluster, "cluster", "space-bench", "name of the cluster to make")
	flag.IntVar(&s.Spaces, "spaces", 100, "spaces to make or free in each round")
	flag.IntVar(&s.Parallel, "parallel", 16, "requests at the same time, for claims and of the bare loop; the controller has as many workers")
	flag.IntVar(&s.Rounds, "rounds", 3, "rounds of each sort")
	flag.IntVar(&s.Pods, "pods", 10, "pods of each sort to start one by one")
	flag.IntVar(&s.Burst, "burst", 200, "pods to start at once")
	s.Prepared, s.Standing, s.Nodes = []int{1, 100, 250}, []int{100, 1000, 5000, 10000}, []int{10, 500, 1000}
	flag.Func("prepared", "claims on a node to measure the plugin at, growing (default 1,100,250)", numbers(&s.Prepared))
	flag.Func("standing", "spaces to measure the controller at, growing (default 100,1000,5000,10000)", numbers(&s.Standing))
	flag.Func("nodes", "simulated nodes to measure pools at, growing (default 10,500,1000)", numbers(&s.Nodes))
	flag.IntVar(&s.Others, "others", 5000, "claims of another driver to measure the controller with at last")
	flag.DurationVar(&s.Rest, "rest", 30*time.Second, "how long to look at a controller at rest")
	flag.StringVar(&s.Before, "before", "", "directory with the programs of an earlier commit, for growth to measure beside those in build/bin")
	out := flag.String("out", filepath.Join(cluster.DefaultConfig().BuildDir, "bench"), "directory of the results")
	flag.Parse()

	if !slices.IsSorted(s.Prepared) || !slices.IsSorted(s.Standing) || !slices.IsSorted(s.Nodes) {
		return errors.New("numbers of claims, spaces and nodes have to grow")
	}
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(bench.All(), func(b bench.Benchmark) bool { return b.Name == name }) {
			return fmt.Errorf("there is no benchmark %q", name)
		}
	}
	for _, b := range bench.All() {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), b.Name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", b.Name, b.About)
		r, err := b.Run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		if err := r.Write(*out); err != nil {
			return err
		}
		if err := r.Text(os.Stdout); err != nil {
			return err
		}
	}
	return nil
}

// numbers reads numbers with commas between them.
func numbers(into *[]int) func(string) error {
	return func(text string) error {
		*into = nil
		for field := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(field)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is not a number of things", field)
			}
			*into = append(*into, n)
		}
		return nil
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dashboard draws the dashboard, from what a real Prometheus has of the driver on a cluster of its own.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/space-dra/space-dra-driver/test/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s := bench.Settings{Progress: os.Stderr}
	flag.StringVar(&s.Cluster, "cluster", "space-dashboard", "name of the cluster to make")
	out := flag.String("out", "dashboard.png", "the picture")
	flag.Parse()
	var picture bytes.Buffer
	if err := bench.Dashboard(ctx, s, &picture); err != nil {
		return err
	}
	if err := os.WriteFile(*out, picture.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

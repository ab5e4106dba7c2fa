// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command podstart measures what a space adds to the start of a pod, on an idle
// cluster of its own: pods with a space and pods without take turns.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/space-dra/space-dra-driver/test/bench"
)

func main() {
	pods := flag.Int("pods", 10, "how many pods of each sort to start")
	asJSON := flag.Bool("json", false, "print JSON instead of a table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench.PodStart(ctx, *pods, *asJSON, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "podstart:", err)
		os.Exit(1)
	}
}

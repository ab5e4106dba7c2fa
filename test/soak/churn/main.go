// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command churn lets pods with spaces come and go on a cluster of its own while
// parts of it are killed. SPACE_SOAK_DURATION says for how long, and
// SPACE_TEST_SEED, which it prints, repeats the random choices of an earlier run.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/space-dra/space-dra-driver/test/soak"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := soak.Alone(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command space-cluster creates and deletes Kubernetes clusters on this
// machine, without a container engine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/space-dra/space-dra-driver/test/cluster/cli"
	"github.com/space-dra/space-dra-driver/test/cluster/hostinit"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == hostinit.Subcommand {
		fmt.Fprintln(os.Stderr, "Error:", hostinit.Run(os.Args[2]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := cli.New().ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

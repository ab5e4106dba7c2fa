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
		fail(hostinit.Run(os.Args[2]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fail(cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// fail ends the program when there's an error.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

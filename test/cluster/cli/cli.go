// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is the command line of space-cluster.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	cluster "github.com/space-dra/space-dra-driver/test/cluster"
)

// Streams are what a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// command is one subcommand.
type command struct {
	name  string
	args  string
	about string
	// flags adds those that only this command has.
	flags func(*invocation, *pflag.FlagSet)
	run   func(context.Context, *invocation, []string) error
}

// invocation is what a command is run with.
type invocation struct {
	Streams

	config       cluster.Config
	featureGates map[string]string
	out          string
	tag          string
	links        string
}

func commands() []command {
	return []command{
		{name: "create", about: "Create the cluster, or start what died of it.", flags: createFlags, run: create},
		{name: "delete", about: "Delete the cluster and all that belongs to it.", run: remove},
		{name: "status", about: "Show hosts and their processes.", run: status},
		{name: "kubeconfig", about: "Print the path of the administrator's kubeconfig.", run: kubeconfig},
		{name: "exec", args: "HOST -- COMMAND [ARG...]", about: "Run a command inside a host's namespaces.", run: execute},
		{name: "images", args: "build [driver|toolbox]... | load FILE...", about: "Build image archives, or load them into every node.", flags: imagesFlags, run: images},
		{name: "binaries", args: "[PROGRAM...]", about: "Build programs, link them into one folder and print their paths.", flags: binariesFlags, run: programs},
	}
}

// Run runs the command that the arguments name.
func Run(ctx context.Context, args []string, streams Streams) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		usage(streams.Out)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.parseAndRun(ctx, args[1:], streams)
		}
	}
	usage(streams.Err)
	return fmt.Errorf("no command %q", args[0])
}

func (c command) parseAndRun(ctx context.Context, args []string, streams Streams) error {
	inv := &invocation{Streams: streams, config: cluster.DefaultConfig()}
	inv.config.Log = func(format string, args ...any) { fmt.Fprintf(streams.Err, format+"\n", args...) }
	flags := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&inv.config.Name, "name", inv.config.Name, "name of the cluster")
	flags.StringVar(&inv.config.BuildDir, "build-dir", inv.config.BuildDir, "where programs are built and kept")
	flags.StringVar(&inv.config.Kubeconfig, "kubeconfig", "", "where the kubeconfig is written (default: kubeconfig in the build folder; <name>.kubeconfig for a name of your own)")
	if c.flags != nil {
		c.flags(inv, flags)
	}
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(streams.Out, "%s\n\nUsage:\n  space-cluster %s [flags]\n\nFlags:\n%s", c.about, strings.TrimSpace(c.name+" "+c.args), flags.FlagUsages())
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w; see space-cluster %s --help", c.name, err, c.name)
	}
	return c.run(ctx, inv, flags.Args())
}

func usage(w io.Writer) {
	fmt.Fprint(w, "A Kubernetes cluster on this machine, without a container engine.\n\nUsage:\n  space-cluster COMMAND [flags]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, "\nspace-cluster COMMAND --help says more.\n")
}

// noArguments refuses what a command would ignore.
func noArguments(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return nil
}

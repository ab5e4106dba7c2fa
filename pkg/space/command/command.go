// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package command runs the driver's binaries: it handles logging flags, signals and exit
// codes.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // makes --logging-format=json known
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// Component is a program that runs until its context is done.
type Component interface {
	// AddFlags registers the component's own flags.
	AddFlags(fs *pflag.FlagSet)
	// Run runs until ctx is done, and returns nil then.
	Run(ctx context.Context) error
}

// Main parses the arguments, runs the component until it fails or the process receives SIGTERM
// or SIGINT, and returns the exit code: 0, 1 for a failure, or 2 for invalid usage.
func Main(name, version string, component Component, args []string, stderr io.Writer) int {
	logging := logsapi.NewLoggingConfiguration()
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.SortFlags = false
	showVersion := fs.Bool("version", false, "Print the version and exit.")
	component.AddFlags(fs)
	logsapi.AddFlags(logging, fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return 0
		}
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	}
	if *showVersion {
		fmt.Fprintf(stderr, "%s %s\n", name, version)
		return 0
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "%s: takes no arguments, but got %q\n", name, fs.Args())
		return 2
	}
	if err := logsapi.ValidateAndApply(logging, nil); err != nil {
		fmt.Fprintf(stderr, "%s: logging flags: %v\n", name, err)
		return 2
	}
	defer logs.FlushLogs()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal terminates the process immediately
	logger := klog.Background().WithName(name)
	ctx = klog.NewContext(ctx, logger)
	logger.Info("Starting", logkeys.Version, version)
	switch err := component.Run(ctx); {
	case err != nil && ctx.Err() != nil:
		// The context has interrupted what was in progress.
		logger.Info("Stopped", "interrupted", err.Error())
	case err != nil:
		logger.Error(err, "Failed")
		return 1
	default:
		logger.Info("Stopped")
	}
	return 0
}

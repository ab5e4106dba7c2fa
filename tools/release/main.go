// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command release makes the driver's images for a release, what proves where they
// come from, and the archives of kubectl's plugin. docs/release.md says how it is used.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/space-dra/space-dra-driver/tools/release/bundle"
	"github.com/space-dra/space-dra-driver/tools/release/driver"
	"github.com/space-dra/space-dra-driver/tools/release/krew"
	"github.com/space-dra/space-dra-driver/tools/release/source"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, epoch string, stderr io.Writer) error {
	o := bundle.Options{Log: func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }}
	flags := pflag.NewFlagSet("release", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Root, "root", ".", "the repository")
	flags.StringVar(&o.Out, "out", "build/release", "folder to write; what was in it goes")
	flags.StringVar(&o.Version, "version", "", "version to build")
	flags.StringSliceVar(&o.Architectures, "arch", []string{"amd64", "arm64"}, "architectures to build for")
	flags.StringVar(&o.BuilderID, "builder-id", driver.Source+"/blob/main/docs/release.md#by-hand", "URI of who builds, for the provenance")
	platforms := flags.StringSlice("plugin-platform", krew.Platforms(), "platforms to build kubectl's plugin for; none if empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Version == "" {
		return fmt.Errorf("--version is missing")
	}
	var err error
	if o.Root, err = filepath.Abs(o.Root); err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	commit, err := source.Read(ctx, o.Root)
	if err != nil {
		return err
	}
	o.Revision, o.Created = commit.Revision, commit.Time
	if epoch != "" {
		if o.Created, err = source.Epoch(epoch); err != nil {
			return fmt.Errorf("reading SOURCE_DATE_EPOCH: %w", err)
		}
	}
	o.Log("release %s of commit %s, %s", o.Version, o.Revision, o.Created.Format(time.RFC3339))
	digest, err := bundle.Write(ctx, o)
	if err != nil {
		return err
	}
	if len(*platforms) > 0 {
		plugin := krew.Options{Root: o.Root, Out: o.Out, Version: o.Version, Created: o.Created, Platforms: *platforms, Log: o.Log}
		if err := krew.Write(ctx, plugin); err != nil {
			return err
		}
	}
	o.Log("%s is %s; all is in %s", driver.Name, digest, o.Out)
	return nil
}

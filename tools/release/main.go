// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command release builds the driver's images for a release, with their SBOMs and
// their provenance. docs/release.md shows how to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/pflag"

	"github.com/space-dra/space-dra-driver/tools/release/driver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	r := release{root: ".", out: "build/release"}
	pflag.StringVar(&r.version, "version", "", "version of the release")
	pflag.StringVar(&r.revision, "revision", "", "commit that is checked out")
	created := pflag.Int64("created", 0, "time of the commit, in seconds since the start of Unix time")
	pflag.StringVar(&r.builderID, "builder-id", driver.Source+"/blob/main/docs/release.md#by-hand", "URI of the builder, for the provenance")
	pflag.Parse()
	if r.version == "" || r.revision == "" {
		return errors.New("--version or --revision is missing")
	}
	r.created = time.Unix(*created, 0).UTC()
	digest, err := r.write(ctx)
	if err != nil {
		return fmt.Errorf("build release %s in %s: %w", r.version, r.out, err)
	}
	fmt.Fprintf(os.Stderr, "%s %s is %s, in %s\n", driver.Name, r.version, digest, r.out)
	return nil
}

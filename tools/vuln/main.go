// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command vuln runs govulncheck over all Go modules of a repository. Its exit code
// is 0 where nothing was found, and where the database of vulnerabilities cannot be
// reached, which it says; 3 where there are vulnerabilities; 1 where it failed; and 2
// for wrong flags.
package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"time"
)

// answerTime is how long the database has to answer.
const answerTime = 20 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := command(ctx, http.DefaultClient, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

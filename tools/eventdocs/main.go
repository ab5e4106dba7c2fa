// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command eventdocs writes docs/events.md, the reference of the reasons in
// conditions and events, from the comments of the constants. Run it by
// `make generate`.
package main

import (
	"fmt"
	"os"
)

// These are seen from the repository's root.
const (
	source = "pkg/space/api/v1alpha1/status.go"
	page   = "docs/events.md"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "eventdocs:", err)
		os.Exit(1)
	}
}

func run() error {
	text, err := generate(source)
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command parameterdocs writes docs/parameters.md, the reference of the opaque
// parameters, from the comments of the Go types. Run it by `make generate`.
package main

import (
	"fmt"
	"os"
)

// These are seen from the repository's root.
const (
	classSource = "pkg/space/api/v1alpha1/classconfig.go"
	claimSource = "pkg/space/api/v1alpha1/claimconfig.go"
	page        = "docs/parameters.md"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "parameterdocs:", err)
		os.Exit(1)
	}
}

func run() error {
	text, err := generate(classSource, claimSource)
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

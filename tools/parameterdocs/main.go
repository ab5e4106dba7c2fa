// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command parameterdocs writes docs/parameters.md, the reference of the opaque
// parameters, from the comments of the Go types. Run it by `make generate`.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: parameterdocs FILE.go PAGE.md")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "parameterdocs:", err)
		os.Exit(1)
	}
}

func run(source, page string) error {
	text, err := generate(source)
	if err != nil {
		return err
	}
	if err := os.WriteFile(page, text, 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

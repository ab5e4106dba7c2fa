// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command metricdocs writes docs/metrics.md, the reference of the metrics, from
// what the components register. Run it by `make generate`.
package main

import (
	"fmt"
	"os"
)

// page is seen from the repository's root.
const page = "docs/metrics.md"

func main() {
	if err := os.WriteFile(page, generate(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "metricdocs: write the page:", err)
		os.Exit(1)
	}
}

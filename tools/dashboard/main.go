// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command dashboard writes the dashboard for Grafana that the chart ships. Run it by
// `make generate`.
package main

import (
	"fmt"
	"os"

	"github.com/space-dra/space-dra-driver/tools/dashboard/board"
)

// file is seen from the repository's root.
const file = "deployments/helm/space-dra-driver/dashboards/spaces.json"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run() error {
	text, err := board.JSON()
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("write the dashboard: %w", err)
	}
	return nil
}

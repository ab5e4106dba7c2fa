// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// Root is the root directory of the repository.
func Root() string { return filepath.Dir(cluster.DefaultConfig().BuildDir) }

// Chart is the directory of the chart.
func Chart() string { return filepath.Join(Root(), "deployments/helm/space-dra-driver") }

// page returns the text of a page of the documentation.
func page(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(), "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func number(t testing.TB, digits string) int {
	t.Helper()
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// FirstCells returns the first cell of each row of the table under a heading of a page.
func FirstCells(t testing.TB, name, heading string) []string {
	t.Helper()
	var cells []string
	for _, row := range Rows(t, name, heading) {
		cells = append(cells, row[0])
	}
	return cells
}

// Rows returns the cells of each row of the table under a heading of a page.
func Rows(t testing.TB, name, heading string) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(Section(t, name, heading)) {
		if row, found := strings.CutPrefix(strings.TrimRight(line, " |\n"), "| "); found {
			rows = append(rows, strings.Split(row, " | "))
		}
	}
	// The first row is the header.
	return rows[min(1, len(rows)):]
}

// Section returns the text between a heading of a page and the next one.
func Section(t testing.TB, name, heading string) string {
	t.Helper()
	_, section, found := strings.Cut(page(t, name), "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/%s has no heading %q", name, heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	return section
}

func number(t testing.TB, digits string) int {
	t.Helper()
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

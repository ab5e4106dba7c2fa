// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// page is the text of a page of the documentation.
func page(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "docs", name))
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

// callsDiffer says what differs between the calls of a component to the API server and
// what the page about performance says of them.
func callsDiffer(t testing.TB, what string, reads, writes int) []string {
	t.Helper()
	row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(what) + ` \| (\d+) \| (\d+) \|$`).FindStringSubmatch(page(t, "performance.md"))
	if row == nil {
		return []string{fmt.Sprintf("%d reads and %d writes, and the page about performance lacks it", reads, writes)}
	}
	if wantReads, wantWrites := number(t, row[1]), number(t, row[2]); reads != wantReads || writes != wantWrites {
		return []string{fmt.Sprintf("%d reads and %d writes, and the page about performance says %d and %d", reads, writes, wantReads, wantWrites)}
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
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

// CheckCalls compares how often a component called the API server with what the page
// about performance says of that.
func CheckCalls(t testing.TB, what string, reads, writes int) {
	t.Helper()
	row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(what) + ` \| (\d+) \| (\d+) \|$`).FindStringSubmatch(page(t, "performance.md"))
	if row == nil {
		t.Errorf("the page about performance lacks %q: %d reads, %d writes", what, reads, writes)
		return
	}
	if wantReads, wantWrites := number(t, row[1]), number(t, row[2]); reads != wantReads || writes != wantWrites {
		t.Errorf("%s: %d reads and %d writes, and the page about performance says %d and %d", what, reads, writes, wantReads, wantWrites)
	}
}

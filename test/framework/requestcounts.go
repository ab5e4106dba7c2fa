// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// RequestCounts compares the numbers of requests of a component with docs/performance.md.
type RequestCounts struct {
	t            testing.TB
	asDocumented map[string]bool
	differences  map[string]string
}

// CheckRequestCounts counts requests in several rounds. After a conflict, or with a stale cache, a component
// sends more requests than necessary, but never fewer. Therefore, each count must match the page in
// one round only.
func CheckRequestCounts(t testing.TB, round func(c *RequestCounts)) {
	t.Helper()
	const rounds = 6
	c := &RequestCounts{t: t, asDocumented: map[string]bool{}, differences: map[string]string{}}
	for range rounds {
		if round(c); len(c.differences) == 0 {
			return
		}
		t.Logf("the counts of this round differ: %q", c.differences)
	}
	for what, difference := range c.differences {
		t.Errorf("%s: no round is as documented; the last one: %s", what, difference)
	}
}

// Count compares the requests of this round with the page. It adds other differences.
func (c *RequestCounts) Count(what string, reads, writes int, others ...string) {
	c.t.Helper()
	differences := slices.Concat(others, compare(c.t, what, reads, writes))
	switch {
	case len(differences) == 0:
		c.asDocumented[what] = true
		delete(c.differences, what)
	case !c.asDocumented[what]:
		c.differences[what] = differences[0]
	}
}

// compare returns the difference between a count of requests and docs/performance.md.
func compare(t testing.TB, what string, reads, writes int) []string {
	t.Helper()
	row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(what) + ` \| (\d+) \| (\d+) \|$`).FindStringSubmatch(page(t, "performance.md"))
	if row == nil {
		return []string{fmt.Sprintf("%d reads and %d writes; docs/performance.md has no such row", reads, writes)}
	}
	if wantReads, wantWrites := number(t, row[1]), number(t, row[2]); reads != wantReads || writes != wantWrites {
		return []string{fmt.Sprintf("%d reads and %d writes; docs/performance.md has %d and %d", reads, writes, wantReads, wantWrites)}
	}
	return nil
}

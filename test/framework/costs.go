// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// Costs compares the requests of a component with docs/performance.md.
type Costs struct {
	t     testing.TB
	right map[string]bool
	wrong map[string]string
}

// CheckCosts counts costs in several rounds. A component that
// meets a conflict, or whose cache lags, sends one request
// more than it has to, and a busy machine makes that likely. Nothing makes it send fewer
// than it has to: for each cost, one round that matches the page is enough.
func CheckCosts(t testing.TB, round func(c *Costs)) {
	t.Helper()
	const rounds = 6
	c := &Costs{t: t, right: map[string]bool{}, wrong: map[string]string{}}
	for range rounds {
		if round(c); len(c.wrong) == 0 {
			return
		}
		t.Logf("in this round, some costs differ: %q", c.wrong)
	}
	for what, how := range c.wrong {
		t.Errorf("%s: no round was as documented; in the last one: %s", what, how)
	}
}

// Count compares what was counted in this round. Others are other faults of
// the round.
func (c *Costs) Count(what string, reads, writes int, others ...string) {
	c.t.Helper()
	wrong := slices.Concat(others, callsDiffer(c.t, what, reads, writes))
	switch {
	case len(wrong) == 0:
		c.right[what] = true
		delete(c.wrong, what)
	case !c.right[what]:
		c.wrong[what] = wrong[0]
	}
}

// callsDiffer returns the differences between the requests of a component and
// docs/performance.md.
func callsDiffer(t testing.TB, what string, reads, writes int) []string {
	t.Helper()
	row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(what) + ` \| (\d+) \| (\d+) \|$`).FindStringSubmatch(page(t, "performance.md"))
	if row == nil {
		return []string{fmt.Sprintf("%d reads and %d writes; docs/performance.md lacks it", reads, writes)}
	}
	if wantReads, wantWrites := number(t, row[1]), number(t, row[2]); reads != wantReads || writes != wantWrites {
		return []string{fmt.Sprintf("%d reads and %d writes; docs/performance.md has %d and %d", reads, writes, wantReads, wantWrites)}
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/bench/report"
)

func TestAddGrowth_hasATableForEachNameAndARowForEachNumber(t *testing.T) {
	g := &report.Growth{Title: "memory", Unit: "MiB", Of: "spaces"}
	g.Add(1, "live", 2, 4)
	g.Add(1, "resident", 10)
	g.Add(100, "live", 6)
	g.Add(100, "resident", 20)
	g.Add(1, "live", 6)
	r := &report.Report{}
	r.AddGrowth(g, &report.Growth{Title: "nothing"})
	if len(r.Tables) != 2 {
		t.Fatalf("got %d tables, want 2", len(r.Tables))
	}
	if got := r.Tables[0]; got.Title != "memory: live" || len(got.Rows) != 2 || got.Rows[0].Name != "1 spaces" || got.Rows[0].Median != 4 || got.Rows[1].Ratio != 1.5 {
		t.Errorf("got table %+v", got)
	}
	if first, last := g.Ends("live"); first != 4 || last != 6 {
		t.Errorf("got %v to %v, want 4 to 6", first, last)
	}
}

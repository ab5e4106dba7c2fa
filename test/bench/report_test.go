// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"strings"
	"testing"
)

func TestReport_hasStatisticsRatiosAndGoals(t *testing.T) {
	r := newReport()
	r.add("memory (MiB)", "1 space", 11, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	r.add("memory (MiB)", "100 spaces", 9)
	r.add("start (s)", "1 space", 2)
	r.add("memory (MiB)", "1 space", 10)
	r.add("memory (MiB)", "100 spaces", 12)
	r.atMost("ratio", 1.75, 1.75)
	r.atMost("ratio", 1.5, 1.75)
	r.atLeast("ratio", 1.75, 1.75)
	r.atLeast("ratio", 2, 1.75)
	var out strings.Builder
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		r.machine, "",
		"memory (MiB) n min median p90 max ratio", "1 space 11 1.000 6.000 10.000 11.000 1.00", "100 spaces 2 9.000 10.500 11.700 12.000 1.75", "",
		"start (s) n min median p90 max ratio", "1 space 1 2.000 2.000 2.000 2.000 1.00", "",
		"goal wanted got", "ratio <= 1.75 1.750 met", "ratio <= 1.5 1.750 missed", "ratio >= 1.75 1.750 met", "ratio >= 2 1.750 missed",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", out.String(), strings.Join(want, "\n"))
	}
	if got := r.median("memory (MiB)", "100 spaces"); got != 10.5 {
		t.Errorf("got median %v, want 10.5", got)
	}
}

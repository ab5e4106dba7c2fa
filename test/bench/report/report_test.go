// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/bench/report"
)

func TestStatisticsAreThoseOfAllValuesWhateverTheirOrder(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   report.Summary
	}{
		{nil, report.Summary{}},
		{[]float64{3}, report.Summary{Min: 3, Median: 3, P90: 3, Max: 3}},
		{[]float64{4, 1}, report.Summary{Min: 1, Median: 2.5, P90: 3.7, Max: 4}},
		{[]float64{11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, report.Summary{Min: 1, Median: 6, P90: 10, Max: 11}},
	} {
		if got := report.Summarize(c.values); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.values, got, c.want)
		}
	}
}

func TestRatiosAreBetweenWhatWasMeasuredTogether(t *testing.T) {
	got := report.Ratios([]float64{1, 6, 5}, []float64{2, 3, 0, 7})
	if want := []float64{0.5, 2, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	table := report.NewTable("pods", "s", report.Series{Name: "a", Values: []float64{2}}, report.Series{Name: "b", Values: []float64{3}})
	if table.Rows[0].Ratio != 1 || table.Rows[1].Ratio != 1.5 {
		t.Errorf("got ratios %v and %v, want 1 and 1.5", table.Rows[0].Ratio, table.Rows[1].Ratio)
	}
}

func TestGoalsAreMetAtTheirBounds(t *testing.T) {
	for _, c := range []struct {
		goal report.Goal
		met  bool
	}{
		{report.AtLeast("x", 0.9, 0.9), true},
		{report.AtLeast("x", 0.9, 0.89), false},
		{report.AtMost("x", 0.15, 0.15), true},
		{report.AtMost("x", 0.15, 0.16), false},
	} {
		if c.goal.Met != c.met {
			t.Errorf("%+v: met is not %v", c.goal, c.met)
		}
	}
}

func TestGrowthHasATableForEachCurveAndOnePicture(t *testing.T) {
	g := &report.Growth{Title: "memory", Unit: "MiB", Of: "spaces"}
	g.Add(1, "live", 2, 4)
	g.Add(1, "resident", 10)
	g.Add(100, "live", 6)
	g.Add(100, "resident", 20)
	g.Add(1, "live", 6)
	r := &report.Report{}
	r.AddGrowth(g, &report.Growth{Title: "nothing"})
	if len(r.Tables) != 2 || len(r.Plots) != 1 {
		t.Fatalf("got %d tables and %d plots, want 2 and 1", len(r.Tables), len(r.Plots))
	}
	if got := r.Tables[0]; got.Title != "memory: live" || len(got.Rows) != 2 || got.Rows[0].Name != "1 spaces" || got.Rows[0].Median != 4 || got.Rows[1].Ratio != 1.5 {
		t.Errorf("got table %+v", got)
	}
	want := []report.Curve{{Name: "live", Points: []report.Point{{X: 1, Y: 4}, {X: 100, Y: 6}}}, {Name: "resident", Points: []report.Point{{X: 1, Y: 10}, {X: 100, Y: 20}}}}
	if !reflect.DeepEqual(r.Plots[0].Curves, want) {
		t.Errorf("got curves %+v, want %+v", r.Plots[0].Curves, want)
	}
	if first, last := g.Ends("live"); first != 4 || last != 6 {
		t.Errorf("got %v to %v, want 4 to 6", first, last)
	}
}

func TestReportIsWrittenForPeopleAndPrograms(t *testing.T) {
	dir := t.TempDir()
	r := &report.Report{
		Name: "sample", Title: "A sample", Machine: report.ThisMachine(),
		Tables: []report.Table{report.NewTable("pods", "s", report.Series{Name: "plain", Values: []float64{1, 2, 3}})},
		Counts: []report.Count{{What: "create pods", N: 1}},
		Goals:  []report.Goal{report.AtMost("median", 1, 2)},
		Plots: []report.Plot{
			{Title: "one", X: "s", Y: "n", Curves: []report.Curve{report.Progress("plain", []float64{2, 1, 3})}},
			{Title: "two", X: "s", Y: "n", Curves: []report.Curve{report.Progress("plain", []float64{2, 1, 3})}},
		},
		Notes: []string{"A note."},
	}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "sample.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A sample", "plain", "2.000", "create pods", "missed", "A note."} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in the text:\n%s", want, text)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "sample.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back report.Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&back, r) {
		t.Errorf("read back: %+v, want %+v", back, *r)
	}
	picture, err := os.Open(filepath.Join(dir, "sample.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	if _, err := png.DecodeConfig(picture); err != nil {
		t.Errorf("the picture: %v", err)
	}
}

func TestReportWithoutCurvesHasNoPicture(t *testing.T) {
	dir := t.TempDir()
	if err := (&report.Report{Name: "sample"}).Write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sample.png")); !os.IsNotExist(err) {
		t.Errorf("got %v, want no picture", err)
	}
}

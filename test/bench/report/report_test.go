// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/bench/report"
)

func TestNewTable_hasRatiosToTheFirstRow(t *testing.T) {
	table := report.NewTable("pods", "s", report.Series{Name: "a", Values: []float64{2}}, report.Series{Name: "b", Values: []float64{3}})
	if table.Rows[0].Ratio != 1 || table.Rows[1].Ratio != 1.5 {
		t.Errorf("got ratios %v and %v, want 1 and 1.5", table.Rows[0].Ratio, table.Rows[1].Ratio)
	}
}

func TestGoal_isMetAtItsBound(t *testing.T) {
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

func TestReport_isWrittenAsTextAndAsJSON(t *testing.T) {
	dir := t.TempDir()
	r := &report.Report{
		Name: "sample", Title: "A sample", Machine: report.ThisMachine(),
		Tables: []report.Table{report.NewTable("pods", "s", report.Series{Name: "plain", Values: []float64{1, 2, 3}})},
		Goals:  []report.Goal{report.AtMost("median", 1, 2)},
		Notes:  []string{"A note."},
	}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "sample.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A sample", "plain", "2.000", "missed", "A note."} {
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
}

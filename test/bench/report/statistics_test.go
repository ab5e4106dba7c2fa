// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"reflect"
	"testing"

	"github.com/space-dra/space-dra-driver/test/bench/report"
)

func TestSummarize_ordersTheValues(t *testing.T) {
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

func TestRatios_comparePairByPair(t *testing.T) {
	got := report.Ratios([]float64{1, 6, 5}, []float64{2, 3, 0, 7})
	if want := []float64{0.5, 2, 0}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

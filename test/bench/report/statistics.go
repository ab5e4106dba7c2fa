// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"slices"
)

// Series are measurements of one thing.
type Series struct {
	Name   string
	Values []float64
}

// Summary is what a series comes to.
type Summary struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	Max    float64 `json:"max"`
}

// Summarize computes statistics. Those of nothing are zero.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return Summary{Min: sorted[0], Median: quantile(sorted, 0.5), P90: quantile(sorted, 0.9), Max: sorted[len(sorted)-1]}
}

// quantile interpolates between the two nearest of sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below, above := int(math.Floor(at)), int(math.Ceil(at))
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// Ratio is a to b. JSON has no infinity, so that it is 0 where b is.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Ratios compares measurements that were made one after the other, pair by pair.
// What the machine did meanwhile is so in both. The longer list is cut.
func Ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		out = append(out, Ratio(a[i], b[i]))
	}
	return out
}

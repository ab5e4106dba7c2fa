// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package board is the dashboard for Grafana: what its panels show, and its JSON.
package board

import "strings"

// Runbooks is where the pages about alerts are, unless the chart's values say otherwise.
const Runbooks = "https://github.com/space-dra/space-dra-driver/blob/main/docs/runbooks"

// Kind is how a panel shows its queries.
type Kind string

// Kinds of panels, by Grafana's names.
const (
	// Stat is the last value, large.
	Stat Kind = "stat"
	// Lines are curves over time.
	Lines Kind = "timeseries"
)

// Unit is what a panel's numbers are, by Grafana's names.
type Unit string

// Units.
const (
	Count      Unit = "short"
	Seconds    Unit = "s"
	PerSecond  Unit = "reqps"
	Bytes      Unit = "bytes"
	Processors Unit = "none"
)

// Query is a question to Prometheus.
type Query struct {
	// Expr is in PromQL, with variables of the dashboard.
	Expr string
	// Legend names a curve, with {{label}} for the value of a label.
	Legend string
}

// Panel is a part of the dashboard.
type Panel struct {
	Title string
	// About says what is to be seen, and what is not as it should be.
	About   string
	Kind    Kind
	Unit    Unit
	Queries []Query
	// Alerts are those that look at the same.
	Alerts []string
	// Warn is the value from which on something is wrong, or 0. With Low it is the
	// value up to which.
	Warn float64
	Low  bool
	// Width and Height are in the columns and rows of Grafana, which has 24 columns.
	Width, Height int
}

// Place is where a panel is.
type Place struct{ X, Y, Width, Height int }

const columns = 24

// Places puts panels side by side, and below each other where there is no more room.
func Places(panels []Panel) []Place {
	var out []Place
	x, y, below := 0, 0, 0
	for _, p := range panels {
		if x+p.Width > columns {
			x, y = 0, below
		}
		out = append(out, Place{x, y, p.Width, p.Height})
		x += p.Width
		below = max(below, y+p.Height)
	}
	return out
}

// Fill replaces the variables of a query by what Grafana would: all jobs, and a rate
// over that time.
func Fill(expr, jobs, interval string) string {
	return strings.NewReplacer("$job", jobs, "$__rate_interval", interval).Replace(expr)
}

// Name is what a curve is called that has these labels.
func (q Query) Name(labels map[string]string) string {
	var out strings.Builder
	rest := q.Legend
	for {
		text, after, found := strings.Cut(rest, "{{")
		out.WriteString(text)
		if !found {
			return out.String()
		}
		label, next, _ := strings.Cut(after, "}}")
		out.WriteString(labels[label])
		rest = next
	}
}

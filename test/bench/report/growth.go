// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import "fmt"

// Growth is how measurements change with the number of things that there are.
type Growth struct {
	// Title says what is measured, Unit in what, and Of what there are more and more.
	Title, Unit, Of string

	curves []*growing
}

// growing is one thing that is measured at each number.
type growing struct {
	name    string
	at      []int
	results []Series
}

// Add adds measurements at a number of things. Those of one name make up a curve.
func (g *Growth) Add(n int, name string, values ...float64) {
	var curve *growing
	for _, c := range g.curves {
		if c.name == name {
			curve = c
		}
	}
	if curve == nil {
		curve = &growing{name: name}
		g.curves = append(g.curves, curve)
	}
	for i := range curve.at {
		if curve.at[i] == n {
			curve.results[i].Values = append(curve.results[i].Values, values...)
			return
		}
	}
	curve.at = append(curve.at, n)
	curve.results = append(curve.results, Series{Name: fmt.Sprintf("%d %s", n, g.Of), Values: values})
}

// Tables has one for each curve. Its ratios are against the first number.
func (g *Growth) Tables() []Table {
	var tables []Table
	for _, c := range g.curves {
		title := g.Title
		if len(g.curves) > 1 {
			title += ": " + c.name
		}
		tables = append(tables, NewTable(title, g.Unit, c.results...))
	}
	return tables
}

// Plot has all curves, through the medians.
func (g *Growth) Plot() Plot {
	p := Plot{Title: g.Title, X: g.Of, Y: g.Unit}
	for _, c := range g.curves {
		curve := Curve{Name: c.name}
		for i, n := range c.at {
			curve.Points = append(curve.Points, Point{float64(n), Summarize(c.results[i].Values).Median})
		}
		p.Curves = append(p.Curves, curve)
	}
	return p
}

// Ends returns the medians of a curve at the numbers that were added first and last.
func (g *Growth) Ends(name string) (first, last float64) {
	for _, c := range g.curves {
		if c.name == name && len(c.results) > 0 {
			return Summarize(c.results[0].Values).Median, Summarize(c.results[len(c.results)-1].Values).Median
		}
	}
	return 0, 0
}

// AddGrowth adds the tables and the picture.
func (r *Report) AddGrowth(growths ...*Growth) {
	for _, g := range growths {
		if len(g.curves) > 0 {
			r.Tables, r.Plots = append(r.Tables, g.Tables()...), append(r.Plots, g.Plot())
		}
	}
}

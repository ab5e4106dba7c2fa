// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
)

// Growth is how measurements change with the number of objects that exist.
type Growth struct {
	// Title names what is measured, Unit its unit, and Of the objects whose number grows.
	Title, Unit, Of string

	measured []measured
}

// measured has the measurements of one name, as a series for each number of objects.
type measured struct {
	name   string
	series []Series
}

// Add adds measurements at a number of objects to those of the name.
func (g *Growth) Add(n int, name string, values ...float64) {
	i := slices.IndexFunc(g.measured, func(m measured) bool { return m.name == name })
	if i < 0 {
		i = len(g.measured)
		g.measured = append(g.measured, measured{name: name})
	}
	m := &g.measured[i]
	at := fmt.Sprintf("%d %s", n, g.Of)
	j := slices.IndexFunc(m.series, func(s Series) bool { return s.Name == at })
	if j < 0 {
		j = len(m.series)
		m.series = append(m.series, Series{Name: at})
	}
	m.series[j].Values = append(m.series[j].Values, values...)
}

// Ends returns the medians at the numbers of objects that were added first and last.
func (g *Growth) Ends(name string) (first, last float64) {
	for _, m := range g.measured {
		if m.name == name {
			return Summarize(m.series[0].Values).Median, Summarize(m.series[len(m.series)-1].Values).Median
		}
	}
	return 0, 0
}

// AddGrowth adds a table for each name. Its ratios are against the first number of objects.
func (r *Report) AddGrowth(growths ...*Growth) {
	for _, g := range growths {
		for _, m := range g.measured {
			title := g.Title
			if len(g.measured) > 1 {
				title += ": " + m.name
			}
			r.Tables = append(r.Tables, NewTable(title, g.Unit, m.series...))
		}
	}
}

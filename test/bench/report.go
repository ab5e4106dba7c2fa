// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// report contains the measurements of one run of a benchmark, as tables of series.
type report struct {
	// machine describes where and when the benchmark ran.
	machine string
	tables  []*table
	goals   []string
}

// table has series of the same unit. Their ratios are to the first one.
type table struct {
	title  string
	series []*series
}

// series are measurements of one thing.
type series struct {
	name   string
	values []float64
}

// newReport describes the current state of the machine.
func newReport() *report {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	return &report{machine: fmt.Sprintf("%d cores, load before: %s, %s", runtime.NumCPU(), strings.TrimSpace(string(load)), runtime.Version())}
}

// add adds measurements to a series of a table. The title of the table includes the unit.
func (r *report) add(title, name string, values ...float64) {
	i := slices.IndexFunc(r.tables, func(t *table) bool { return t.title == title })
	if i < 0 {
		i = len(r.tables)
		r.tables = append(r.tables, &table{title: title})
	}
	r.tables[i].add(name, values...)
}

func (t *table) add(name string, values ...float64) {
	i := slices.IndexFunc(t.series, func(s *series) bool { return s.name == name })
	if i < 0 {
		i = len(t.series)
		t.series = append(t.series, &series{name: name})
	}
	t.series[i].values = append(t.series[i].values, values...)
}

// addRatios adds the ratios of two series of another table, pair by pair, because other load affects
// both values of a pair.
func (r *report) addRatios(title, of, name, base string) {
	dividends, divisors := r.values(of, name), r.values(of, base)
	for i := range min(len(dividends), len(divisors)) {
		r.add(title, name, dividends[i]/divisors[i])
	}
}

// median returns the median of a series.
func (r *report) median(title, name string) float64 { return quantile(r.values(title, name), 0.5) }

func (r *report) values(title, name string) []float64 {
	for _, t := range r.tables {
		for _, s := range t.series {
			if t.title == title && s.name == name {
				return s.values
			}
		}
	}
	return nil
}

// atLeast adds whether a value reaches a goal. Goals can be missed on a busy machine: the benchmark does
// not fail.
func (r *report) atLeast(what string, want, got float64) { r.goal(what, ">=", want, got, got >= want) }

// atMost adds whether a value is within a goal.
func (r *report) atMost(what string, want, got float64) { r.goal(what, "<=", want, got, got <= want) }

func (r *report) goal(what, relation string, want, got float64, met bool) {
	result := map[bool]string{true: "met", false: "missed"}[met]
	r.goals = append(r.goals, fmt.Sprintf("%s\t%s %g\t%.3f\t%s", what, relation, want, got, result))
}

// write writes the report as text.
func (r *report) write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, r.machine)
	for _, t := range r.tables {
		fmt.Fprintf(w, "\n%s\tn\tmin\tmedian\tp90\tmax\tratio\n", t.title)
		first := quantile(t.series[0].values, 0.5)
		for _, s := range t.series {
			median := quantile(s.values, 0.5)
			fmt.Fprintf(w, "%s\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%.2f\n", s.name, len(s.values),
				slices.Min(s.values), median, quantile(s.values, 0.9), slices.Max(s.values), median/first)
		}
	}
	if len(r.goals) > 0 {
		fmt.Fprintf(w, "\ngoal\twanted\tgot\t\n%s\n", strings.Join(r.goals, "\n"))
	}
	return w.Flush()
}

// quantile interpolates between the two nearest values. Without values, it returns NaN.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	below, fraction := math.Modf(q * float64(len(sorted)-1))
	above := min(int(below)+1, len(sorted)-1)
	return sorted[int(below)] + fraction*(sorted[above]-sorted[int(below)])
}

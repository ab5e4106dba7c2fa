// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report writes what a benchmark measured, as tables and as JSON. All that is compared
// is from one run.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Report is what one run of a benchmark found.
type Report struct {
	// Name is also the name of the files.
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Machine Machine `json:"machine"`
	// Tables are of measurements with a unit each.
	Tables []Table `json:"tables,omitempty"`
	// Goals say what was wanted and what came out.
	Goals []Goal   `json:"goals,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// Machine is where a benchmark ran.
type Machine struct {
	Cores int `json:"cores"`
	// Load is /proc/loadavg at the beginning: what else the machine had to do.
	Load string `json:"load,omitempty"`
	Go   string `json:"go"`
}

// ThisMachine describes the machine as it is now.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(data)); len(fields) >= 3 {
			m.Load = strings.Join(fields[:3], " ")
		}
	}
	return m
}

// String describes it to people.
func (m Machine) String() string {
	return fmt.Sprintf("%d cores, load before: %s, %s", m.Cores, m.Load, m.Go)
}

// Table has series of the same unit. Ratios are against the first of them.
type Table struct {
	Title string `json:"title"`
	Unit  string `json:"unit"`
	Rows  []Row  `json:"rows"`
}

// Row is a series with its statistics.
type Row struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"`
	Summary
	// Ratio is the median against that of the table's first row.
	Ratio float64 `json:"ratio"`
}

// Goal is what was wanted. It is no verdict on the run: a machine can be busy.
type Goal struct {
	What   string  `json:"what"`
	Wanted string  `json:"wanted"`
	Got    float64 `json:"got"`
	Met    bool    `json:"met"`
}

// AtLeast is a goal that is met from a value on.
func AtLeast(what string, want, got float64) Goal {
	return Goal{What: what, Wanted: fmt.Sprintf(">= %g", want), Got: got, Met: got >= want}
}

// AtMost is a goal that is met up to a value.
func AtMost(what string, want, got float64) Goal {
	return Goal{What: what, Wanted: fmt.Sprintf("<= %g", want), Got: got, Met: got <= want}
}

// NewTable computes the statistics of series.
func NewTable(title, unit string, series ...Series) Table {
	t := Table{Title: title, Unit: unit}
	for _, s := range series {
		t.Rows = append(t.Rows, Row{Name: s.Name, Values: s.Values, Summary: Summarize(s.Values)})
	}
	for i := range t.Rows {
		t.Rows[i].Ratio = Ratio(t.Rows[i].Median, t.Rows[0].Median)
	}
	return t
}

// Write writes the report into <dir>/<name>.txt and .json.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write report %s: %w", r.Name, err)
	}
	path := filepath.Join(dir, r.Name)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report %s as JSON: %w", r.Name, err)
	}
	if err := os.WriteFile(path+".json", append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report %s as JSON: %w", r.Name, err)
	}
	file, err := os.Create(path + ".txt")
	if err != nil {
		return fmt.Errorf("write report %s as text: %w", r.Name, err)
	}
	if err := errors.Join(r.Text(file), file.Close()); err != nil {
		return fmt.Errorf("write report %s as text: %w", r.Name, err)
	}
	return nil
}

// Text writes the report for people.
func (r *Report) Text(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\n%s\n", r.Title, r.Machine)
	for _, table := range r.Tables {
		fmt.Fprintf(w, "\n%s (%s)\truns\tmin\tmedian\tp90\tmax\tratio\n", table.Title, table.Unit)
		for _, row := range table.Rows {
			fmt.Fprintf(w, "%s\t%d\t%.3f\t%.3f\t%.3f\t%.3f\t%.2f\n", row.Name, len(row.Values), row.Min, row.Median, row.P90, row.Max, row.Ratio)
		}
	}
	if len(r.Goals) > 0 {
		fmt.Fprint(w, "\ngoal\twanted\tgot\t\n")
	}
	for _, goal := range r.Goals {
		met := "met"
		if !goal.Met {
			met = "missed"
		}
		fmt.Fprintf(w, "%s\t%s\t%.3f\t%s\n", goal.What, goal.Wanted, goal.Got, met)
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, note)
	}
	return w.Flush()
}

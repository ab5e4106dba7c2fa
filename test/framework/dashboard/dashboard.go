// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dashboard reads the Grafana dashboard of the chart, for tests and tools that run its queries.
package dashboard

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Dashboard is the part of Grafana's JSON that tests read.
type Dashboard struct {
	Links      []Link
	Templating struct{ List []struct{ Name string } }
	Panels     []Panel
}

// Link is a link of the dashboard or a panel.
type Link struct{ Title, URL string }

// Panel is a panel or the title of a row.
type Panel struct {
	ID      int
	Title   string
	Links   []Link
	Targets []Target
}

// Target is a query in PromQL.
type Target struct {
	Expr, LegendFormat string
	Datasource         struct{ UID string }
}

// Load reads the dashboard from the chart in the repository at root.
func Load(root string) (*Dashboard, error) {
	text, err := os.ReadFile(filepath.Join(root, "deployments/helm/space-dra-driver/dashboards/spaces.json"))
	if err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	return Parse(text)
}

// Parse reads the JSON of a dashboard.
func Parse(text []byte) (*Dashboard, error) {
	out := &Dashboard{}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("parse the dashboard: %w", err)
	}
	return out, nil
}

// Query returns the query for all clusters, namespaces and pools, with rates over the interval.
func (t Target) Query(interval string) string {
	return strings.NewReplacer("$__rate_interval", interval, "$cluster", ".*", "$namespace", ".*", "$pool", ".*", "$job", ".*").Replace(t.Expr)
}

var label = regexp.MustCompile(`{{(\w+)}}`)

// LegendLabels returns the labels that the legend shows.
func (t Target) LegendLabels() []string {
	var out []string
	for _, match := range label.FindAllStringSubmatch(t.LegendFormat, -1) {
		out = append(out, match[1])
	}
	return out
}

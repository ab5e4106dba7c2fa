// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/dashboard"
)

// dashboardOf returns the dashboard in the ConfigMap that the chart renders.
func dashboardOf(t *testing.T, v values) *dashboard.Dashboard {
	t.Helper()
	config := render(t, merge(at("metrics.dashboard.enabled", true), v))["ConfigMap/rel-space-dra-driver-dashboard"]
	if config == nil {
		t.Fatal("the chart has no ConfigMap with the dashboard")
	}
	out, err := dashboard.Parse([]byte(config.Object["data"].(values)["rel-space-dra-driver.json"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDashboard_isValid(t *testing.T) {
	d := dashboardOf(t, nil)
	variables := map[string]bool{}
	for _, variable := range d.Templating.List {
		variables[variable.Name] = true
	}
	ids := map[int]bool{}
	for _, panel := range d.Panels {
		if ids[panel.ID] {
			t.Errorf("panel %q has the ID of another panel", panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			for _, match := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if match[1] != "__rate_interval" && !variables[match[1]] {
					t.Errorf("panel %q uses $%s, which is not a variable", panel.Title, match[1])
				}
			}
			if selectors, ours := strings.Count(target.Expr, "{"), strings.Count(target.Expr, `{cluster=~"$cluster",namespace=~"$namespace",job=~"$job"`); selectors != ours {
				t.Errorf("panel %q selects series without the variables: %s", panel.Title, target.Expr)
			}
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q has its own data source %q", panel.Title, target.Datasource.UID)
			}
			_, by, _ := strings.Cut(target.Expr, " by (")
			by, _, _ = strings.Cut(by, ")")
			for _, label := range target.LegendLabels() {
				if !slices.Contains(strings.Split(by, ", "), label) {
					t.Errorf("the legend of panel %q has the label %s, which the query drops: %s", panel.Title, label, target.Expr)
				}
			}
		}
	}
}

func TestDashboard_hasLabelsAndAnnotations(t *testing.T) {
	for got := range render(t, nil) {
		if strings.HasSuffix(got, "-dashboard") {
			t.Errorf("the chart has %s by default", got)
		}
	}
	v := merge(at("metrics.dashboard.enabled", true), at("metrics.dashboard.annotations", values{"grafana_folder": "Spaces"}),
		at("metrics.dashboard.labels", values{"app.kubernetes.io/name": "overridden", "team": "b"}), at("commonLabels", values{"team": "a"}))
	config := render(t, v)["ConfigMap/rel-space-dra-driver-dashboard"]
	if l := config.GetLabels(); l["grafana_dashboard"] != "1" || l["app.kubernetes.io/name"] != "space-dra-driver" || l["team"] != "a" {
		t.Errorf("it has labels %v", l)
	}
	if a := config.GetAnnotations(); a["grafana_folder"] != "Spaces" {
		t.Errorf("it has annotations %v", a)
	}
}

func TestDashboard_linksToTheRunbookOfEachAlert(t *testing.T) {
	const url = "https://example.com/runbooks"
	got := dashboardOf(t, at("metrics.prometheusRule.runbookURL", url+"/"))
	if len(got.Links) != 1 || got.Links[0].URL != url {
		t.Errorf("the dashboard has the links %v", got.Links)
	}
	rules := alerts(t, ruleSpec(t, nil))
	linked := map[string]bool{}
	for _, panel := range got.Panels {
		for _, link := range panel.Links {
			if rules[link.Title] == nil {
				t.Errorf("panel %q links to %s, which is not an alert", panel.Title, link.Title)
			}
			if link.URL != url+"/"+link.Title+".md" {
				t.Errorf("panel %q links to %s", panel.Title, link.URL)
			}
			linked[link.Title] = true
		}
	}
	for name := range rules {
		if !linked[name] {
			t.Errorf("no panel links to %s", name)
		}
	}
}

func TestDashboardAndAlerts_useMetricsThatExist(t *testing.T) {
	var expressions, whose []string
	for _, panel := range dashboardOf(t, nil).Panels {
		for _, target := range panel.Targets {
			expressions, whose = append(expressions, target.Query("1m")), append(whose, panel.Title)
		}
	}
	for name, rule := range alerts(t, ruleSpec(t, nil)) {
		expressions, whose = append(expressions, rule["expr"].(string)), append(whose, name)
	}
	page, err := os.ReadFile(filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	// In addition to those of the page: metrics of Prometheus and of kube-state-metrics.
	described := []string{"up", "kube_daemonset_status_number_unavailable"}
	for _, cell := range regexp.MustCompile(`(?m)^\|([^|]*)\|`).FindAllString(string(page), -1) {
		for _, name := range regexp.MustCompile("`(.*?)`").FindAllStringSubmatch(cell, -1) {
			described = append(described, name[1])
		}
	}
	for i, names := range metricsOf(t, expressions) {
		if len(names) == 0 {
			t.Errorf("%s queries no metric: %s", whose[i], expressions[i])
		}
		for _, name := range names {
			histogram := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(name, "")
			if !slices.ContainsFunc(described, func(pattern string) bool {
				matches, _ := path.Match(pattern, name)
				isHistogram, _ := path.Match(pattern, histogram)
				return matches || isHistogram
			}) {
				t.Errorf("%s queries %s, which docs/metrics.md does not have", whose[i], name)
			}
		}
	}
}

// metricsOf returns the metrics in each expression, as the parser of Prometheus finds them.
func metricsOf(t *testing.T, expressions []string) [][]string {
	t.Helper()
	raw, err := json.Marshal(expressions)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), framework.Binary("promcheck"), "metrics")
	cmd.Stdin = bytes.NewReader(raw)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("run promcheck, which make promcheck builds: %v", err)
	}
	var out [][]string
	if err := json.Unmarshal(output, &out); err != nil || len(out) != len(expressions) {
		t.Fatalf("the output of promcheck is %s (error: %v)", output, err)
	}
	return out
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// observed returns the metrics of both components, with a value for each, by their registries.
func observed() map[*prometheus.Registry][]metrics.Metric {
	forController, forPlugin := prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()
	c := metrics.NewController(forController, "v1.2.3")
	c.Collect(func() map[metrics.Spaces]int {
		return map[metrics.Spaces]int{{State: metrics.StateReady, Pool: "spaces"}: 3, {State: metrics.StateTerminating}: 1}
	}, func() map[string]int64 { return map[string]int64{"spaces": 10} }, func() int { return 1 })
	c.Provision.Observe(90*time.Second, metrics.Result(nil))
	c.ProvisionSteps.Observe(time.Second, metrics.StepRBAC)
	c.Revoke.Observe(time.Second)
	c.Delete.Observe(time.Second)
	c.ProvisioningErrors.WithLabelValues("InvalidParameters").Inc()
	c.Resyncs.WithLabelValues().Inc()
	c.Corrections.WithLabelValues(metrics.UnprovisionedClaim).Inc()

	p := metrics.NewPlugin(forPlugin, "v1.2.3")
	p.Watch(func() metrics.Tokens {
		return metrics.Tokens{Claims: 2, Left: 10 * time.Minute, Known: true}
	})
	p.Prepare.Observe(time.Second, metrics.Result(errors.New("no")))
	p.PrepareSteps.Observe(time.Second, metrics.StepToken)
	p.Unprepare.Observe(time.Second, metrics.Result(nil))
	p.Renewals.WithLabelValues(metrics.Succeeded).Inc()
	p.Resyncs.WithLabelValues().Inc()
	p.Corrections.WithLabelValues(metrics.FoundEnded).Inc()
	return map[*prometheus.Registry][]metrics.Metric{forController: c.Metrics(), forPlugin: p.Metrics()}
}

func TestMetrics_followTheConventions(t *testing.T) {
	for registry, described := range observed() {
		problems, err := testutil.GatherAndLint(registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
		for _, metric := range described {
			// Each has a value here, so that each is checked.
			if n, err := testutil.GatherAndCount(registry, metric.Name); err != nil || n == 0 {
				t.Errorf("%s has no value (error: %v)", metric.Name, err)
			}
			for _, label := range metric.Labels {
				if !slices.Contains([]string{"result", "reason", "kind", "step", "state", "pool", "version", "go_version"}, label) {
					t.Errorf("%s has label %s: does the number of its values grow with claims?", metric.Name, label)
				}
			}
		}
	}
}

func TestMetrics_areOnTheMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(space_dra_\\w+)` \\|(.*)$").FindAllSubmatch(page, -1) {
		rows[string(row[1])] = string(row[2])
	}
	described := map[string]bool{}
	for _, component := range observed() {
		for _, m := range component {
			described[m.Name] = true
			if !strings.HasPrefix(rows[m.Name], " "+m.Type+" |") {
				t.Errorf("docs/metrics.md has no row of the %s %s", m.Type, m.Name)
			}
			for _, label := range m.Labels {
				if !strings.Contains(rows[m.Name], "`"+label+"`") {
					t.Errorf("the row of %s in docs/metrics.md lacks the label %s", m.Name, label)
				}
			}
		}
	}
	for name := range rows {
		if !described[name] {
			t.Errorf("docs/metrics.md has %s, which no component registers", name)
		}
	}
}

func TestMetrics_showWhatWasObserved(t *testing.T) {
	want := map[string]string{
		"space_dra_spaces": `# HELP space_dra_spaces Number of spaces by state and pool, as the leading controller sees them. Retained and terminating spaces have no pool.
# TYPE space_dra_spaces gauge
space_dra_spaces{pool="",state="terminating"} 1
space_dra_spaces{pool="spaces",state="ready"} 3
`,
		"space_dra_namespaces_stuck_terminating": `# HELP space_dra_namespaces_stuck_terminating Number of namespaces of spaces whose deletion takes longer than --namespace-deletion-timeout.
# TYPE space_dra_namespaces_stuck_terminating gauge
space_dra_namespaces_stuck_terminating 1
`,
		"space_dra_prepared_claims": `# HELP space_dra_prepared_claims Number of claims on the node whose tokens are renewed.
# TYPE space_dra_prepared_claims gauge
space_dra_prepared_claims 2
`,
	}
	for registry, described := range observed() {
		for _, metric := range described {
			if text := want[metric.Name]; text != "" {
				if err := testutil.GatherAndCompare(registry, strings.NewReader(text), metric.Name); err != nil {
					t.Error(err)
				}
				delete(want, metric.Name)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("absent: %v", want)
	}
}

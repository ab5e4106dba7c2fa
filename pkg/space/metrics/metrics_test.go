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

// observed returns the registries of both components, with a value for each metric.
func observed() []*prometheus.Registry {
	forController, forPlugin := prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()
	c := metrics.NewController(forController, "v1.2.3")
	c.Collect(func() map[metrics.SpaceLabels]int {
		return map[metrics.SpaceLabels]int{{State: metrics.StateReady, Pool: "spaces"}: 3, {State: metrics.StateTerminating}: 1}
	}, func() map[string]int64 { return map[string]int64{"spaces": 10} }, func() int { return 1 })
	c.Provision.Observe(90*time.Second, metrics.Result(nil))
	c.ProvisionSteps.Observe(time.Second, metrics.StepRBAC)
	c.Revoke.Observe(time.Second)
	c.Delete.Observe(time.Second)
	c.ProvisioningErrors.WithLabelValues("InvalidParameters").Inc()
	c.Resyncs.WithLabelValues().Inc()
	c.Findings.WithLabelValues(metrics.UnprovisionedClaim).Inc()

	p := metrics.NewPlugin(forPlugin, "v1.2.3")
	p.Collect(func() metrics.Tokens {
		return metrics.Tokens{Claims: 2, Remaining: 10 * time.Minute, Known: true}
	})
	p.Prepare.Observe(time.Second, metrics.Result(errors.New("no")))
	p.PrepareSteps.Observe(time.Second, metrics.StepToken)
	p.Unprepare.Observe(time.Second, metrics.Result(nil))
	p.Renewals.WithLabelValues(metrics.Succeeded).Inc()
	p.Resyncs.WithLabelValues().Inc()
	p.Findings.WithLabelValues(metrics.DeallocatedClaim).Inc()
	return []*prometheus.Registry{forController, forPlugin}
}

func TestMetrics_passTheLinter(t *testing.T) {
	for _, registry := range observed() {
		problems, err := testutil.GatherAndLint(registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

func TestMetrics_areDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(space_dra_\\w+)` \\|(.*)$").FindAllSubmatch(page, -1) {
		rows[string(row[1])] = string(row[2])
	}
	registered := map[string]bool{}
	for _, registry := range observed() {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			name, kind := family.GetName(), strings.ToLower(family.GetType().String())
			registered[name] = true
			if !strings.HasPrefix(rows[name], " "+kind+" |") {
				t.Errorf("docs/metrics.md has no row of the %s %s", kind, name)
			}
			for _, label := range family.GetMetric()[0].GetLabel() {
				if !strings.Contains(rows[name], "`"+label.GetName()+"`") {
					t.Errorf("the row of %s in docs/metrics.md lacks the label %s", name, label.GetName())
				}
				// Labels must not have a value for each claim.
				if !slices.Contains([]string{"result", "reason", "kind", "step", "state", "pool", "version", "go_version"}, label.GetName()) {
					t.Errorf("label %s of %s is not in the list of this test", label.GetName(), name)
				}
			}
		}
	}
	for name := range rows {
		if !registered[name] {
			t.Errorf("docs/metrics.md has %s, which no component registers", name)
		}
	}
}

func TestCollect_readsValuesAtEachScrape(t *testing.T) {
	registries := observed()
	for registry, want := range map[*prometheus.Registry]string{
		registries[0]: `# HELP space_dra_namespaces_stuck_terminating Number of namespaces that have been terminating for longer than --stuck-terminating-after.
# TYPE space_dra_namespaces_stuck_terminating gauge
space_dra_namespaces_stuck_terminating 1
# HELP space_dra_spaces Number of spaces by state and pool.
# TYPE space_dra_spaces gauge
space_dra_spaces{pool="",state="terminating"} 1
space_dra_spaces{pool="spaces",state="ready"} 3
`,
		registries[1]: `# HELP space_dra_prepared_claims Number of claims on the node whose tokens are renewed.
# TYPE space_dra_prepared_claims gauge
space_dra_prepared_claims 2
`,
	} {
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "space_dra_spaces", "space_dra_namespaces_stuck_terminating", "space_dra_prepared_claims"); err != nil {
			t.Error(err)
		}
	}
}

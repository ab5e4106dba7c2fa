// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	componentmetrics "k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// talkative returns the registries of components each of whose metrics has a value,
// with the descriptions of the metrics.
func talkative(t *testing.T) map[componentmetrics.KubeRegistry][]metrics.Metric {
	t.Helper()
	forController, forPlugin := componentmetrics.NewKubeRegistry(), componentmetrics.NewKubeRegistry()
	c, err := metrics.NewController(forController, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Count(func() map[metrics.Spaces]int {
		return map[metrics.Spaces]int{{State: metrics.StateReady, Pool: "spaces"}: 3, {State: metrics.StateEnding}: 1}
	}, func() map[string]int64 { return map[string]int64{"spaces": 10} }); err != nil {
		t.Fatal(err)
	}
	c.StuckTerminating.Set(1)
	c.Provision.Observe(90*time.Second, metrics.Result(nil))
	c.ProvisionSteps.Observe(time.Second, metrics.StepRights)
	c.Revoke.Observe(time.Second)
	c.Delete.Observe(time.Second)
	c.NotReady.WithLabelValues("InvalidParameters").Inc()
	c.Sweeps.WithLabelValues().Inc()
	c.Findings.WithLabelValues(metrics.FoundClaim).Inc()

	p, err := metrics.NewPlugin(forPlugin, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Watch(func() metrics.Tokens {
		return metrics.Tokens{Claims: 2, Left: 10 * time.Minute, Known: true}
	}); err != nil {
		t.Fatal(err)
	}
	p.Prepare.Observe(time.Second, metrics.Result(errors.New("no")))
	p.PrepareSteps.Observe(time.Second, metrics.StepToken)
	p.Unprepare.Observe(time.Second, metrics.Result(nil))
	p.Renewals.WithLabelValues(metrics.Succeeded).Inc()
	p.Sweeps.WithLabelValues().Inc()
	p.Findings.WithLabelValues(metrics.FoundEnded).Inc()
	forBoth := componentmetrics.NewKubeRegistry()
	r, err := metrics.NewRequests(forBoth)
	if err != nil {
		t.Fatal(err)
	}
	r.Count("get", "pods/status", "200")
	return map[componentmetrics.KubeRegistry][]metrics.Metric{forController: c.Metrics(), forPlugin: p.Metrics(), forBoth: r.Metrics()}
}

func TestMetricsAreNamedAsIsTheCustom(t *testing.T) {
	for registry, described := range talkative(t) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		var names []string
		for _, family := range families {
			if _, err := testutil.MetricFamilyToText(&text, family); err != nil {
				t.Fatal(err)
			}
			names = append(names, family.GetName())
		}
		problems, err := testutil.NewPromLinter(&text).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Error(problem.String())
		}
		// Each has a value here, so that each is looked at.
		for _, metric := range described {
			if !slices.Contains(names, metric.Name) {
				t.Errorf("%s was not looked at", metric.Name)
			}
			for _, label := range metric.Labels {
				if !slices.Contains([]string{"result", "reason", "finding", "step", "state", "pool", "version", "go_version", "verb", "resource", "code"}, label) {
					t.Errorf("%s has label %s: does the number of its values grow with claims?", metric.Name, label)
				}
			}
		}
	}
}

func TestWhatIsMeasuredIsShown(t *testing.T) {
	want := map[string]string{
		"space_dra_api_requests_total": `# HELP space_dra_api_requests_total [ALPHA] Number of requests to the API server. The code is that of the answer, or ` + "`none`" + ` if there was none. The resource is that of the path, with its subresource, or ` + "`none`" + ` if the path has none.
# TYPE space_dra_api_requests_total counter
space_dra_api_requests_total{code="200",resource="pods/status",verb="get"} 1
`,
		"space_dra_spaces": `# HELP space_dra_spaces [ALPHA] Number of spaces by state and pool, as the controller that leads sees them. Spaces that have ended, kept or not, are of no pool.
# TYPE space_dra_spaces gauge
space_dra_spaces{pool="",state="ending"} 1
space_dra_spaces{pool="spaces",state="ready"} 3
`,
		"space_dra_pool_limit": `# HELP space_dra_pool_limit [ALPHA] Number of spaces that a pool has, as the controller that leads was told: of pools with a limit, of those per node only such as have spaces.
# TYPE space_dra_pool_limit gauge
space_dra_pool_limit{pool="spaces"} 10
`,
		"space_dra_prepared_claims": `# HELP space_dra_prepared_claims [ALPHA] Number of claims on the node whose tokens are kept fresh.
# TYPE space_dra_prepared_claims gauge
space_dra_prepared_claims 2
`,
	}
	for registry, described := range talkative(t) {
		for _, metric := range described {
			if text := want[metric.Name]; text != "" {
				if err := testutil.GatherAndCompare(registry, strings.NewReader(text), metric.Name); err != nil {
					t.Error(err)
				}
				delete(want, metric.Name)
			}
		}
		for name, labels := range map[string]map[string]string{
			"space_dra_provision_duration_seconds": {"result": metrics.Succeeded},
			"space_dra_prepare_duration_seconds":   {"result": metrics.Failed},
		} {
			histogram, err := testutil.GetHistogramVecFromGatherer(registry, name, labels)
			if err == nil && len(histogram) > 0 && histogram.GetAggregatedSampleCount() != 1 {
				t.Errorf("%s has %d samples", name, histogram.GetAggregatedSampleCount())
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
}

func TestAMetricThatIsThereAlreadyIsAnError(t *testing.T) {
	registry := componentmetrics.NewKubeRegistry()
	if _, err := metrics.NewPlugin(registry, "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := metrics.NewPlugin(registry, "v1"); err == nil || !strings.Contains(err.Error(), "space_dra_prepare_duration_seconds") {
		t.Errorf("got error %v", err)
	}
}

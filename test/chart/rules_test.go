// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// series has the values of metrics, one per minute, in promtool's notation.
type series map[string]string

// alertCase is a test of an alert, which the packages of Prometheus run.
type alertCase struct {
	alert string
	// fires are series with which the alert fires, and quiet are some close to that.
	fires, quiet series
	// at is the time of the evaluation.
	at string
	// labels in addition to the severity.
	severity string
	labels   map[string]string
	// value is the formatted value in the summary, if any.
	value string
}

const slots = "space_dra_provisioning_duration_seconds_bucket"

// alertCases are for the default thresholds.
var alertCases = []alertCase{{
	alert: "SpaceLeakSuspected", at: "45m", severity: "warning",
	fires: series{`space_dra_resync_findings_total{kind="stale_namespace"}`: "0+1x10 10+0.2x60"},
	quiet: series{`space_dra_resync_findings_total{kind="stale_namespace"}`: "0 3x60", `space_dra_resync_findings_total{kind="unprovisioned_claim"}`: "0+1x60"},
}, {
	alert: "SpaceProvisioningSlow", at: "30m", severity: "warning",
	fires: series{slots + `{result="success",le="5"}`: "0x60", slots + `{result="success",le="10"}`: "0x60", slots + `{result="success",le="20"}`: "0+10x60", slots + `{result="success",le="+Inf"}`: "0+10x60"},
	quiet: series{slots + `{result="success",le="5"}`: "0+10x60", slots + `{result="success",le="10"}`: "0+19x60", slots + `{result="success",le="20"}`: "0+20x60", slots + `{result="success",le="+Inf"}`: "0+20x60"},
	value: "19s",
}, {
	alert: "SpaceProvisioningFailing", at: "30m", severity: "warning",
	fires: series{`space_dra_provisioning_duration_seconds_count{result="failure"}`: "0+1x60"},
	quiet: series{`space_dra_provisioning_duration_seconds_count{result="failure"}`: "0x20 3x60", `space_dra_provisioning_duration_seconds_count{result="success"}`: "0+50x60"},
	value: "15",
}, {
	alert: "SpaceTokenRenewalsFailing", at: "30m", severity: "warning", labels: map[string]string{"instance": "n1", "result": "failure"},
	fires: series{`space_dra_token_renewals_total{result="failure",instance="n1"}`: "0+1x60"},
	quiet: series{`space_dra_token_renewals_total{result="failure",instance="n1"}`: "7x16 9x44", `space_dra_token_renewals_total{result="success",instance="n1"}`: "0+1x60"},
}, {
	alert: "SpaceTokenExpiringSoon", at: "10m", severity: "critical", labels: map[string]string{"instance": "n1"},
	fires: series{`space_dra_token_remaining_lifetime_seconds{instance="n1"}`: "60x60"},
	quiet: series{`space_dra_token_remaining_lifetime_seconds{instance="n1"}`: "120x60"},
	value: "1m 0s",
}, {
	alert: "SpaceStuckTerminating", at: "20m", severity: "warning",
	fires: series{`space_dra_namespaces_stuck_terminating{instance="a"}`: "2x60", `space_dra_namespaces_stuck_terminating{instance="b"}`: "0x60"},
	quiet: series{`space_dra_namespaces_stuck_terminating{instance="a"}`: "0x12 2x60"},
	value: "2",
}, {
	alert: "SpacePoolExhausted", at: "30m", severity: "warning", labels: map[string]string{"pool": "few"},
	fires: series{`space_dra_spaces{pool="few",state="ready"}`: "2x60", `space_dra_spaces{pool="few",state="expired"}`: "1x60", `space_dra_pool_limit{pool="few"}`: "3x60"},
	quiet: series{`space_dra_spaces{pool="few",state="ready"}`: "2x60", `space_dra_spaces{pool="few",state="terminating"}`: "5x60", `space_dra_spaces{pool="few",state="retained"}`: "5x60", `space_dra_pool_limit{pool="few"}`: "3x60", `space_dra_spaces{pool="many",state="ready"}`: "9x60"},
	value: "3",
}, {
	alert: "SpaceControllerNoLeader", at: "10m", severity: "critical",
	fires: series{leaderMetric("rel", "a"): "0x60", leaderMetric("rel", "b"): "0x60", leaderMetric("other", "a"): "1x60"},
	quiet: series{leaderMetric("rel", "a"): "0x60", leaderMetric("rel", "b"): "1x60"},
}, {
	alert: "SpaceControllerDown", at: "20m", severity: "critical",
	fires: series{`space_dra_namespaces_stuck_terminating{instance="a"}`: "0x5 stale", `space_dra_prepared_claims{instance="n1"}`: "1x60"},
	quiet: series{`space_dra_namespaces_stuck_terminating{instance="a"}`: "0x5 stale", `space_dra_namespaces_stuck_terminating{instance="b"}`: "0x60"},
}, {
	alert: "SpaceKubeletPluginDown", at: "20m", severity: "critical", labels: map[string]string{"namespace": namespace, "daemonset": pluginName},
	fires: series{unavailableMetric(namespace, pluginName): "1x60"},
	quiet: series{unavailableMetric(namespace, pluginName): "0x12 1x60", unavailableMetric("another", pluginName): "1x60", unavailableMetric(namespace, "other"): "1x60"},
	value: "1",
}}

func leaderMetric(release, instance string) string {
	return `leader_election_master_status{name="` + release + `-space-dra-driver-controller",instance="` + instance + `"}`
}

func unavailableMetric(namespace, daemonSet string) string {
	return `kube_daemonset_status_number_unavailable{namespace="` + namespace + `",daemonset="` + daemonSet + `"}`
}

// ruleSpec returns the spec of the chart's PrometheusRule.
func ruleSpec(t *testing.T, v values) values {
	t.Helper()
	rule := render(t, merge(at("metrics.prometheusRule.enabled", true), v))["PrometheusRule/rel-space-dra-driver"]
	if rule == nil {
		t.Fatal("the chart has no PrometheusRule")
	}
	return rule.Object["spec"].(values)
}

// alerts returns the rules by their names.
func alerts(t *testing.T, spec values) map[string]values {
	t.Helper()
	out := map[string]values{}
	groups, _, err := unstructured.NestedSlice(spec, "groups")
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		for _, rule := range group.(values)["rules"].([]any) {
			out[rule.(values)["alert"].(string)] = rule.(values)
		}
	}
	return out
}

// formatted matches the value of an alert in its summary.
var formatted = regexp.MustCompile(`{{ \$value[^}]*}}`)

func TestAlerts_fireOverTheirThresholdOnly(t *testing.T) {
	spec := ruleSpec(t, nil)
	rules := alerts(t, spec)
	if len(rules) != len(alertCases) {
		t.Errorf("the chart has %d alerts, and the test cases for %d", len(rules), len(alertCases))
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), spec)
	for _, c := range alertCases {
		t.Run(c.alert, func(t *testing.T) {
			labels := map[string]string{"severity": c.severity}
			for key, value := range c.labels {
				labels[key] = value
			}
			annotations := rules[c.alert]["annotations"].(values)
			summary := formatted.ReplaceAllString(annotations["summary"].(string), c.value)
			for key, value := range c.labels {
				summary = strings.ReplaceAll(summary, "{{ $labels."+key+" }}", value)
			}
			expected := []any{values{"exp_labels": labels, "exp_annotations": values{"summary": summary, "runbook_url": annotations["runbook_url"]}}}
			file := filepath.Join(dir, c.alert+".yaml")
			write(t, file, values{"rule_files": []any{"rules.yaml"}, "evaluation_interval": "1m", "tests": []any{
				c.test("fires", c.fires, expected), c.test("near miss", c.quiet, []any{}),
			}})
			if out, err := exec.CommandContext(t.Context(), framework.Binary("promcheck"), "rules", file).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func (c alertCase) test(name string, input series, expected []any) values {
	var all []any
	for metric, samples := range input {
		all = append(all, values{"series": metric, "values": samples})
	}
	return values{"name": name, "interval": "1m", "input_series": all, "alert_rule_test": []any{
		values{"eval_time": c.at, "alertname": c.alert, "exp_alerts": expected},
	}}
}

// write writes JSON, which is also YAML.
func write(t *testing.T, file string, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAlerts_haveTheMatchersInEachSelector(t *testing.T) {
	for name, rule := range alerts(t, ruleSpec(t, at("metrics.prometheusRule.matchers", `cluster="a"`))) {
		expr := rule["expr"].(string)
		if selectors := strings.Count(expr, "{"); name != "SpaceKubeletPluginDown" && (selectors == 0 || strings.Count(expr, `cluster="a"}`) != selectors) {
			t.Errorf("%s queries %s", name, expr)
		}
	}
}

func TestAlerts_haveOneRunbookEach(t *testing.T) {
	pages := filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "docs/runbooks")
	entries, err := os.ReadDir(pages)
	if err != nil {
		t.Fatal(err)
	}
	rules := alerts(t, ruleSpec(t, nil))
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".md")
		if rules[name] == nil {
			t.Errorf("%s has no alert", entry.Name())
			continue
		}
		if url := rules[name]["annotations"].(values)["runbook_url"].(string); !strings.HasSuffix(url, "/docs/runbooks/"+entry.Name()) {
			t.Errorf("%s links to %s", name, url)
		}
		delete(rules, name)
	}
	for name := range rules {
		t.Errorf("%s has no runbook", name)
	}
}

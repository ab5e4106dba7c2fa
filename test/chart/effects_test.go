// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// change is another value for a key of values.yaml.
type change struct {
	to any
	// with are values without which the key has no effect, before and after.
	with values
}

// changes are those that can't be guessed from the value in values.yaml.
var changes = map[string]change{
	"driverName":                           {to: "other.example.com"},
	"image.digest":                         {to: "sha256:" + strings.Repeat("a", 64)},
	"image.tag":                            {to: "v9"},
	"image.pullPolicy":                     {to: "Always"},
	"imagePullSecrets":                     {to: []any{values{"name": "registry"}}},
	"nameOverride":                         {to: "other"},
	"fullnameOverride":                     {to: "other"},
	"space.clusterRole":                    {to: "admin"},
	"space.podSecurity":                    {to: "restricted"},
	"space.networkMode":                    {to: "Open"},
	"space.dns.cidrs":                      {to: []any{"169.254.20.10/32"}},
	"space.apiServerCIDRs":                 {to: []any{"10.0.0.0/24"}},
	"defaultDeviceClass.pool":              {to: "spaces"},
	"space.apiServerURL":                   {to: "https://api.example.com"},
	"space.apiServerCA":                    {to: "-----BEGIN CERTIFICATE-----\n"},
	"defaultDeviceClass.config":            {to: values{"retention": values{"period": "1h"}}},
	"pools":                                {to: []any{values{"name": "other"}}},
	"deviceClasses":                        {to: []any{values{"name": "other"}}},
	"controller.resyncPeriod":              {to: "6m"},
	"controller.namespaceDeletionTimeout":  {to: "6m"},
	"controller.resources.limits.memory":   {to: "1Gi"},
	"controller.resources.requests.memory": {to: "1Gi"},
	"controller.resources.requests.cpu":    {to: "1"},
	"controller.tolerations":               {to: []any{values{"operator": "Exists"}}},
	"controller.affinity":                  {to: values{"nodeAffinity": values{}}},
	"controller.topologySpreadConstraints": {to: []any{}},

	"kubeletPlugin.tolerations":                {to: []any{}},
	"kubeletPlugin.tokenLifetime":              {to: "2h"},
	"kubeletPlugin.resources.limits.memory":    {to: "1Gi"},
	"kubeletPlugin.resources.requests.memory":  {to: "1Gi"},
	"kubeletPlugin.resources.requests.cpu":     {to: "1"},
	"kubeletPlugin.updateStrategy.type":        {to: "OnDelete"},
	"networkPolicy.metricsFrom":                {to: []any{values{"podSelector": values{}}}, with: at("networkPolicy.enabled", true)},
	"networkPolicy.apiServerCIDRs":             {to: []any{"10.0.0.0/24"}, with: at("networkPolicy.enabled", true)},
	"networkPolicy.apiServerPorts":             {to: []any{8443}, with: at("networkPolicy.enabled", true)},
	"networkPolicy.extraEgress":                {to: []any{values{"ports": []any{values{"port": 53}}}}, with: at("networkPolicy.enabled", true)},
	"criticalPodsQuota.pods":                   {to: 3, with: at("criticalPodsQuota.enabled", true)},
	"flowControl.priorityLevel":                {to: "workload-high", with: at("flowControl.enabled", true)},
	"flowControl.matchingPrecedence":           {to: 2000, with: at("flowControl.enabled", true)},
	"flowControl.nominalConcurrencyShares":     {to: 40, with: at("flowControl.enabled", true)},
	"metrics.podMonitor.interval":              {to: "10s", with: at("metrics.podMonitor.enabled", true)},
	"metrics.podMonitor.scrapeTimeout":         {to: "5s", with: at("metrics.podMonitor.enabled", true)},
	"metrics.podMonitor.labels":                {to: values{"release": "prometheus"}, with: at("metrics.podMonitor.enabled", true)},
	"metrics.podMonitor.relabelings":           {to: []any{values{"targetLabel": "node"}}, with: at("metrics.podMonitor.enabled", true)},
	"metrics.podMonitor.metricRelabelings":     {to: []any{values{"action": "drop"}}, with: at("metrics.podMonitor.enabled", true)},
	"metrics.serviceMonitor.interval":          {to: "10s", with: at("metrics.serviceMonitor.enabled", true)},
	"metrics.serviceMonitor.scrapeTimeout":     {to: "5s", with: at("metrics.serviceMonitor.enabled", true)},
	"metrics.serviceMonitor.labels":            {to: values{"release": "prometheus"}, with: at("metrics.serviceMonitor.enabled", true)},
	"metrics.serviceMonitor.relabelings":       {to: []any{values{"targetLabel": "node"}}, with: at("metrics.serviceMonitor.enabled", true)},
	"metrics.serviceMonitor.metricRelabelings": {to: []any{values{"action": "drop"}}, with: at("metrics.serviceMonitor.enabled", true)},
	"controller.metricsPort":                   {to: 9443},
	"metrics.secure.certificateSecret":         {to: "certificate", with: at("metrics.secure.enabled", true)},
	"metrics.secure.tlsConfig":                 {to: values{"serverName": "a"}, with: securely("serviceMonitor")},
	"metrics.secure.tokenSecret.name":          {to: "token", with: securely("serviceMonitor")},
	"metrics.secure.tokenSecret.key":           {to: "other", with: securely("podMonitor")},
	"helmTest.tolerations":                     {to: []any{values{"operator": "Exists"}}},
	"flowControl.lendablePercent":              {to: 60, with: at("flowControl.enabled", true)},

	"metrics.dashboard.labels.grafana_dashboard":          {to: "2", with: at("metrics.dashboard.enabled", true)},
	"metrics.dashboard.annotations":                       {to: values{"grafana_folder": "Spaces"}, with: at("metrics.dashboard.enabled", true)},
	"metrics.prometheusRule.labels":                       {to: values{"release": "prometheus"}, with: at("metrics.prometheusRule.enabled", true)},
	"metrics.prometheusRule.alertLabels":                  {to: values{"team": "a"}, with: at("metrics.prometheusRule.enabled", true)},
	"metrics.prometheusRule.matchers":                     {to: `namespace="driver"`, with: at("metrics.prometheusRule.enabled", true)},
	"metrics.prometheusRule.runbookURL":                   {to: "https://example.com/runbooks", with: at("metrics.prometheusRule.enabled", true)},
	"metrics.prometheusRule.thresholds.provisionSeconds":  {to: 20, with: at("metrics.prometheusRule.enabled", true)},
	"metrics.prometheusRule.thresholds.provisionFailures": {to: 5, with: at("metrics.prometheusRule.enabled", true)},
	"metrics.prometheusRule.thresholds.tokenSeconds":      {to: 60, with: at("metrics.prometheusRule.enabled", true)},
	"metrics.prometheusRule.thresholds.leakFindings":      {to: 5, with: at("metrics.prometheusRule.enabled", true)},
}

// guess is another value of the same type, or nil.
func guess(value any) any {
	switch value := value.(type) {
	case bool:
		return !value
	case float64:
		return value + 1
	case int64:
		return value + 1
	case string:
		if value != "" {
			return value + "x"
		}
	case values:
		return values{"a": "b"}
	case []any:
		return []any{"other"}
	}
	return nil
}

// leaf is a value in values.yaml that has no keys below it.
type leaf struct {
	path  []string
	value any
}

func leaves(below values, path ...string) []leaf {
	var out []leaf
	for key, value := range below {
		here := append(append([]string(nil), path...), key)
		if deeper, isMap := value.(values); isMap && len(deeper) > 0 {
			out = append(out, leaves(deeper, here...)...)
		} else {
			out = append(out, leaf{here, value})
		}
	}
	return out
}

func TestValues_eachHasAnEffect(t *testing.T) {
	unused := map[string]bool{}
	for path := range changes {
		unused[path] = true
	}
	for _, leaf := range leaves(defaults(t)) {
		path := strings.Join(leaf.path, ".")
		c, explicit := changes[path]
		delete(unused, path)
		if !explicit {
			c.to = guess(leaf.value)
		}
		if c.to == nil {
			t.Errorf("%s: the test does not know another value", path)
			continue
		}
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			changed := together(c.with, under(leaf.path, c.to))
			if render(t, c.with) == render(t, changed) {
				t.Errorf("%v renders the same as the default", changed)
			}
		})
	}
	for path := range unused {
		t.Errorf("%s is not in values.yaml", path)
	}
}

func TestReadme_describesEachValue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(directory(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range leaves(defaults(t)) {
		if !described(string(text), leaf.path) {
			t.Errorf("%s has no comment in values.yaml that README.md could have", strings.Join(leaf.path, "."))
		}
	}
}

// described says whether a value or what it is part of has a row with a text.
func described(text string, path []string) bool {
	for i := len(path); i > 0; i-- {
		_, row, found := strings.Cut(text, "\n| `"+strings.Join(path[:i], ".")+"` | ")
		if !found {
			continue
		}
		row, _, _ = strings.Cut(row, "\n")
		return !strings.HasSuffix(row, "|  |")
	}
	return false
}

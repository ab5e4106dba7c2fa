// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// otherValues are values that cannot be derived from those in values.yaml.
var otherValues = map[string]any{
	"driverName":              "other.example.com",
	"image.digest":            "sha256:" + strings.Repeat("a", 64),
	"image.tag":               "v9",
	"image.pullPolicy":        "Always",
	"imagePullSecrets":        []any{values{"name": "registry"}},
	"global.imageRegistry":    "mirror.example.com",
	"global.imagePullSecrets": []any{"mirror"},
	"namespaceOverride":       "other",
	"logFormat":               "json",
	"openshift.enabled":       true,
	"extraObjects":            []any{values{"apiVersion": "v1", "kind": "ConfigMap", "metadata": values{"name": "extra"}}},
	"controller.leaderElection.leaseDuration":   "20s",
	"controller.leaderElection.renewDeadline":   "12s",
	"controller.leaderElection.retryPeriod":     "3s",
	"controller.serviceAccount.name":            "other",
	"controller.extraArgs":                      []any{"--v=1"},
	"controller.extraEnv":                       []any{values{"name": "A", "value": "b"}},
	"controller.extraVolumes":                   []any{values{"name": "a", "emptyDir": values{}}},
	"controller.extraVolumeMounts":              []any{values{"name": "a", "mountPath": "/a"}},
	"kubeletPlugin.serviceAccount.name":         "other",
	"kubeletPlugin.extraArgs":                   []any{"--v=1"},
	"kubeletPlugin.extraEnv":                    []any{values{"name": "A", "value": "b"}},
	"kubeletPlugin.extraVolumes":                []any{values{"name": "a", "emptyDir": values{}}},
	"kubeletPlugin.extraVolumeMounts":           []any{values{"name": "a", "mountPath": "/a"}},
	"nameOverride":                              "other",
	"fullnameOverride":                          "other",
	"space.clusterRole":                         "admin",
	"space.podSecurity":                         "restricted",
	"space.networkMode":                         "Open",
	"space.dns.cidrs":                           []any{"169.254.20.10/32"},
	"space.apiServerCIDRs":                      []any{"10.0.0.0/24"},
	"space.apiServerURL":                        "https://api.example.com",
	"defaultDeviceClass.pool":                   "spaces",
	"defaultDeviceClass.config":                 values{"retention": values{"period": "1h"}},
	"pools":                                     []any{values{"name": "other"}},
	"deviceClasses":                             []any{values{"name": "other"}},
	"controller.metricsPort":                    9443,
	"controller.resyncPeriod":                   "6m",
	"controller.stuckTerminatingAfter":          "6m",
	"controller.resources.limits.memory":        "1Gi",
	"controller.resources.requests.memory":      "1Gi",
	"controller.resources.requests.cpu":         "1",
	"controller.tolerations":                    []any{values{"operator": "Exists"}},
	"controller.affinity":                       values{"nodeAffinity": values{}},
	"controller.topologySpreadConstraints":      []any{},
	"kubeletPlugin.tolerations":                 []any{},
	"kubeletPlugin.tokenLifetime":               "2h",
	"kubeletPlugin.resources.limits.memory":     "1Gi",
	"kubeletPlugin.resources.requests.memory":   "1Gi",
	"kubeletPlugin.resources.requests.cpu":      "1",
	"kubeletPlugin.updateStrategy.type":         "OnDelete",
	"networkPolicy.metricsFrom":                 []any{values{"podSelector": values{}}},
	"networkPolicy.apiServerCIDRs":              []any{"10.0.0.0/24"},
	"networkPolicy.apiServerPorts":              []any{8443},
	"networkPolicy.extraEgress":                 []any{values{"ports": []any{values{"port": 53}}}},
	"flowControl.priorityLevel":                 "workload-high",
	"metrics.podMonitor.enabled":                false,
	"metrics.podMonitor.interval":               "10s",
	"metrics.podMonitor.scrapeTimeout":          "5s",
	"metrics.podMonitor.relabelings":            []any{values{"targetLabel": "node"}},
	"metrics.podMonitor.metricRelabelings":      []any{values{"action": "drop"}},
	"metrics.serviceMonitor.interval":           "10s",
	"metrics.serviceMonitor.scrapeTimeout":      "5s",
	"metrics.serviceMonitor.relabelings":        []any{values{"targetLabel": "node"}},
	"metrics.serviceMonitor.metricRelabelings":  []any{values{"action": "drop"}},
	"space.allowedPodSecurity":                  []any{"privileged"},
	"metrics.secure.certificate.existingSecret": "certificate",
	"metrics.prometheusRule.matchers":           `namespace="driver"`,
	"rbac.controllerRole.extraRules":            []any{values{"apiGroups": []any{"a"}, "resources": []any{"b"}, "verbs": []any{"c"}}},
	"helmTest.tolerations":                      []any{values{"operator": "Exists"}},
}

// otherValue returns another value of the same type, or nil.
func otherValue(value any) any {
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

// leaf is a value without keys below it.
type leaf struct {
	path  []string
	value any
}

func leaves(below values, path ...string) []leaf {
	var out []leaf
	for key, value := range below {
		here := append(slices.Clone(path), key)
		if deeper, isMap := value.(values); isMap && len(deeper) > 0 {
			out = append(out, leaves(deeper, here...)...)
		} else {
			out = append(out, leaf{here, value})
		}
	}
	return out
}

func TestValues_eachHasAnEffect(t *testing.T) {
	// Only one kind of monitor can be enabled.
	podMonitor := merge(allOptions, at("metrics.serviceMonitor.enabled", false), at("metrics.podMonitor.enabled", true))
	withServiceMonitor, withPodMonitor := render(t, allOptions), render(t, podMonitor)
	unused := maps.Clone(otherValues)
	for _, leaf := range leaves(merge(defaults(t), allOptions)) {
		path := strings.Join(leaf.path, ".")
		other, explicit := otherValues[path]
		delete(unused, path)
		if !explicit {
			other = otherValue(leaf.value)
		}
		if other == nil {
			t.Errorf("%s: the test has no other value", path)
			continue
		}
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			base, before := allOptions, withServiceMonitor
			if strings.HasPrefix(path, "metrics.podMonitor.") {
				base, before = podMonitor, withPodMonitor
			}
			if reflect.DeepEqual(before, render(t, merge(base, under(leaf.path, other)))) {
				t.Errorf("%s renders the same with %v", path, other)
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
			t.Errorf("%s has no row in README.md", strings.Join(leaf.path, "."))
		}
	}
}

// described reports whether a value, or one that contains it, has a row with a description.
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

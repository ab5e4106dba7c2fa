// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestProfilesAreOffUnlessAskedForAndOnNoPort(t *testing.T) {
	containers := func(v values) []corev1.Container {
		return append(slices.Clone(controllerOf(t, v).Spec.Template.Spec.Containers), pluginOf(t, v).Spec.Template.Spec.Containers...)
	}
	for _, c := range containers(nil) {
		if strings.Contains(strings.Join(c.Args, " "), "pprof") {
			t.Errorf("%s: profiles are on by default: %q", c.Name, c.Args)
		}
	}
	for _, c := range containers(at("metrics.pprof", true)) {
		if !slices.Contains(c.Args, "--pprof-address=127.0.0.1:6060") {
			t.Errorf("%s: profiles are not on, or not only for the pod itself: %q", c.Name, c.Args)
		}
		if len(c.Ports) != 1 {
			t.Errorf("%s: has ports %v, want one", c.Name, c.Ports)
		}
	}
}

func TestThePodMonitorFindsThePodsOfBothComponentsAndTheirPort(t *testing.T) {
	const key = "PodMonitor/rel-space-dra-driver"
	for got := range objects(t, render(t, nil)) {
		if strings.HasPrefix(got, "PodMonitor") {
			t.Errorf("there is %s by default", got)
		}
	}
	v := together(at("metrics.podMonitor.enabled", true), at("metrics.podMonitor.labels", values{"release": "prometheus", "app.kubernetes.io/name": "stolen"}),
		at("metrics.podMonitor.relabelings", []any{values{"targetLabel": "zone"}}))
	m := objects(t, render(t, v))[key]
	if m == nil {
		t.Fatalf("there is no %s", key)
	}
	if l := m.GetLabels(); l["release"] != "prometheus" || l["app.kubernetes.io/name"] != "space-dra-driver" {
		t.Errorf("it has labels %v", l)
	}
	var spec struct {
		Selector            metav1.LabelSelector `json:"selector"`
		PodTargetLabels     []string             `json:"podTargetLabels"`
		PodMetricsEndpoints []struct {
			Port, Path  string
			Relabelings []struct{ TargetLabel string }
		} `json:"podMetricsEndpoints"`
	}
	raw, err := json.Marshal(m.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(&spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.PodMetricsEndpoints) != 1 || spec.PodMetricsEndpoints[0].Path != "/metrics" {
		t.Fatalf("it reads %v", spec.PodMetricsEndpoints)
	}
	// The dashboard has the nodes' names.
	if r := spec.PodMetricsEndpoints[0].Relabelings; len(r) != 2 || r[0].TargetLabel != "node" || r[1].TargetLabel != "zone" {
		t.Errorf("it makes labels %v", r)
	}
	for name, template := range map[string]corev1.PodTemplateSpec{"controller": controllerOf(t, v).Spec.Template, "plugin": pluginOf(t, v).Spec.Template} {
		if !selector.Matches(labels.Set(template.Labels)) {
			t.Errorf("%s does not select the %s's pods, %v", selector, name, template.Labels)
		}
		if port := template.Spec.Containers[0].Ports[0].Name; port != spec.PodMetricsEndpoints[0].Port {
			t.Errorf("the %s's port is %s", name, port)
		}
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// everything are values with which each template renders something.
var everything = together(
	at("space.clusterWideRoles", []any{"crds"}), at("space.copyFromNamespaces", []any{"shared"}),
	at("space.apiServerCA", "-----BEGIN CERTIFICATE-----\n"), values{"deviceClasses": []any{values{"name": "gold"}}},
	at("networkPolicy.enabled", true), at("flowControl.enabled", true), at("criticalPodsQuota.enabled", true),
	at("metrics.secure.enabled", true), at("metrics.serviceMonitor.enabled", true),
	at("metrics.prometheusRule.enabled", true), at("metrics.dashboard.enabled", true), at("rbac.createViewerRole", true),
)

func TestCommonLabels_areOnAllObjects(t *testing.T) {
	v := together(everything, at("commonLabels", values{"team": "a", "app.kubernetes.io/name": "stolen"}), at("commonAnnotations", values{"contact": "b"}))
	rendered := objects(t, render(t, v))
	if len(rendered) < 25 {
		t.Errorf("only %d objects", len(rendered))
	}
	for key, object := range rendered {
		if object.GetLabels()["team"] != "a" || object.GetLabels()["app.kubernetes.io/name"] != "space-dra-driver" {
			t.Errorf("%s has labels %v", key, object.GetLabels())
		}
		if object.GetAnnotations()["contact"] != "b" {
			t.Errorf("%s has annotations %v", key, object.GetAnnotations())
		}
		template, found, err := unstructured.NestedMap(object.Object, "spec", "template", "metadata")
		if !found || err != nil {
			continue
		}
		pod := unstructured.Unstructured{Object: values{"metadata": template}}
		if pod.GetLabels()["team"] != "a" || pod.GetAnnotations()["contact"] != "b" || pod.GetLabels()["app.kubernetes.io/name"] != "space-dra-driver" {
			t.Errorf("pods of %s have labels %v and annotations %v", key, pod.GetLabels(), pod.GetAnnotations())
		}
	}
}

func TestPodLabels_overrideCommonLabels(t *testing.T) {
	v := together(at("commonLabels", values{"team": "a"}), at("commonAnnotations", values{"contact": "b", "kept": "c"}))
	for _, component := range []string{"controller", "kubeletPlugin"} {
		v = together(v, at(component+".podLabels", values{"team": component}), at(component+".podAnnotations", values{"contact": component}),
			at(component+".serviceAccount.annotations", values{"contact": component}))
	}
	rendered := objects(t, render(t, v))
	for key, component := range map[string]string{"Deployment/" + controllerName: "controller", "DaemonSet/" + pluginName: "kubeletPlugin"} {
		template, _, _ := unstructured.NestedMap(rendered[key].Object, "spec", "template", "metadata")
		pod := unstructured.Unstructured{Object: values{"metadata": template}}
		if pod.GetLabels()["team"] != component || pod.GetAnnotations()["contact"] != component || pod.GetAnnotations()["kept"] != "c" {
			t.Errorf("pods of %s have labels %v and annotations %v", key, pod.GetLabels(), pod.GetAnnotations())
		}
	}
	for name, component := range map[string]string{controllerName: "controller", pluginName: "kubeletPlugin"} {
		if got := rendered["ServiceAccount/"+name].GetAnnotations(); got["contact"] != component || got["kept"] != "c" {
			t.Errorf("ServiceAccount %s has annotations %v", name, got)
		}
	}
}

// Two releases can be in one cluster, and in one namespace, if their drivers have
// different names.
func TestReleases_shareNoObjects(t *testing.T) {
	of := func(release, driver string) map[string]*unstructured.Unstructured {
		out, err := helm(t, together(everything, values{"driverName": driver, "deviceClasses": []any{values{"name": driver + ".gold"}}}),
			"template", release, directory(), "--namespace", namespace)
		if err != nil {
			t.Fatal(out)
		}
		return objects(t, out)
	}
	first, second := of("first", "first.example.com"), of("second", "second.example.com")
	for key, object := range first {
		if second[key] != nil {
			t.Errorf("both releases have %s", key)
		}
		wanted, found, _ := unstructured.NestedStringMap(object.Object, "spec", "selector", "matchLabels")
		if !found {
			continue
		}
		for other, object := range second {
			template, found, _ := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
			if found && labels.SelectorFromSet(wanted).Matches(labels.Set(template)) {
				t.Errorf("%s of the first release selects the pods of %s of the second", key, other)
			}
		}
	}
}

func TestNames_comeFromTheReleaseOrTheValues(t *testing.T) {
	for name, c := range map[string]struct {
		release string
		values  values
	}{
		"rel-space-dra-driver":              {release: "rel"},
		"my-space-dra-driver":               {release: "my-space-dra-driver"},
		"rel-other":                         {release: "rel", values: at("nameOverride", "other")},
		"mine":                              {release: "rel", values: together(at("nameOverride", "other"), at("fullnameOverride", "mine"))},
		strings.Repeat("long-", 9) + "long": {release: strings.Repeat("long-", 10) + "er"},
	} {
		out, err := helm(t, c.values, "template", c.release, directory(), "--namespace", namespace)
		if err != nil {
			t.Fatal(out)
		}
		rendered := objects(t, out)
		for _, key := range []string{"Deployment/" + name + "-controller", "DaemonSet/" + name + "-kubeletplugin", "ClusterRole/" + name + "-controller"} {
			if rendered[key] == nil {
				t.Errorf("release %s with %v has no %s", c.release, c.values, key)
			}
		}
		for key := range rendered {
			if _, object, _ := strings.Cut(key, "/"); !strings.HasPrefix(object, name) && !strings.HasPrefix(key, "DeviceClass/") {
				t.Errorf("release %s with %v has %s", c.release, c.values, key)
			}
		}
	}
}

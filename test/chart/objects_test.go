// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// allOptions are values with which each template renders an object.
var allOptions = merge(
	at("space.clusterWideRoles", []any{"crds"}), at("space.copyFromNamespaces", []any{"shared"}),
	at("space.apiServerCA", "-----BEGIN CERTIFICATE-----\n"), values{"deviceClasses": []any{values{"name": "gold"}}},
	at("networkPolicy.enabled", true), at("flowControl.enabled", true), at("criticalPodsQuota.enabled", true),
	secureMetrics("serviceMonitor"),
	at("metrics.prometheusRule.enabled", true), at("metrics.dashboard.enabled", true), at("rbac.viewerRole.create", true),
)

// kubectl space version shows that of the DeviceClass.
func TestVersionLabel_isTheTagOfTheImage(t *testing.T) {
	for want, tag := range map[string]string{"v0.1.0": "", "v0.1.1": "v0.1.1", strings.Repeat("a", 62): "_" + strings.Repeat("a", 62) + "..."} {
		class := object[resourceapi.DeviceClass](t, render(t, at("image.tag", tag)), "DeviceClass/space.resource.example.com")
		if got := class.Labels["app.kubernetes.io/version"]; got != want {
			t.Errorf("with the tag %q, the DeviceClass has the version %q, want %q", tag, got, want)
		}
	}
}

func TestCommonLabels_areOnAllObjects(t *testing.T) {
	v := merge(allOptions, at("commonLabels", values{"team": "a", "app.kubernetes.io/name": "overridden"}), at("commonAnnotations", values{"contact": "b"}))
	rendered := render(t, v)
	if len(rendered) < 25 {
		t.Errorf("only %d objects", len(rendered))
	}
	check := func(key string, object *unstructured.Unstructured) {
		if l := object.GetLabels(); l["team"] != "a" || l["app.kubernetes.io/name"] != "space-dra-driver" || object.GetAnnotations()["contact"] != "b" {
			t.Errorf("%s has labels %v and annotations %v", key, l, object.GetAnnotations())
		}
	}
	for key, object := range rendered {
		check(key, object)
		if template, found, _ := unstructured.NestedMap(object.Object, "spec", "template"); found {
			check("pods of "+key, &unstructured.Unstructured{Object: template})
		}
	}
}

func TestPodLabels_overrideCommonLabels(t *testing.T) {
	v := merge(at("commonLabels", values{"team": "a"}), at("commonAnnotations", values{"contact": "b", "kept": "c"}))
	for _, component := range []string{"controller", "kubeletPlugin"} {
		v = merge(v, at(component+".podLabels", values{"team": component}), at(component+".podAnnotations", values{"contact": component}),
			at(component+".serviceAccount.annotations", values{"contact": component}))
	}
	rendered := render(t, v)
	for component, template := range templates(t, v) {
		if template.Labels["team"] != component || template.Annotations["contact"] != component || template.Annotations["kept"] != "c" {
			t.Errorf("pods of %s have labels %v and annotations %v", component, template.Labels, template.Annotations)
		}
		if got := rendered["ServiceAccount/"+template.Spec.ServiceAccountName].GetAnnotations(); got["contact"] != component || got["kept"] != "c" {
			t.Errorf("the ServiceAccount of %s has annotations %v", component, got)
		}
	}
}

// TestReleases_shareNoObjects has two releases with different driver names in one namespace.
func TestReleases_shareNoObjects(t *testing.T) {
	of := func(release, driver string) manifests {
		rendered, err := tryRender(t, release, merge(allOptions, values{"driverName": driver, "deviceClasses": []any{values{"name": driver + ".gold"}}}))
		if err != nil {
			t.Fatal(err)
		}
		return rendered
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
		"mine":                              {release: "rel", values: merge(at("nameOverride", "other"), at("fullnameOverride", "mine"))},
		strings.Repeat("long-", 9) + "long": {release: strings.Repeat("long-", 10) + "er"},
	} {
		rendered, err := tryRender(t, c.release, c.values)
		if err != nil {
			t.Fatal(err)
		}
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

// TestSpaceMetadata_allKeysAreLookedUp checks policy space-metadata, which looks up only the driver's
// keys in namespaces with many labels or annotations.
func TestSpaceMetadata_allKeysAreLookedUp(t *testing.T) {
	policy := object[admissionv1.ValidatingAdmissionPolicy](t, render(t, nil), "ValidatingAdmissionPolicy/rel-space-dra-driver-space-metadata")
	keys := reflect.ValueOf(spaceapi.KeysFor(spaceapi.DefaultDriverName))
	for i := range keys.NumField() {
		if keys.Type().Field(i).Name == "Extension" {
			continue // Users write it, to claims.
		}
		if key := keys.Field(i).String(); !slices.ContainsFunc(policy.Spec.Validations, func(v admissionv1.Validation) bool {
			return strings.Contains(v.Expression, "'"+key+"'")
		}) {
			t.Errorf("%s is not looked up", key)
		}
	}
}

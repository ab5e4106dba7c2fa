// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

func TestObjects_namespaceIdentifiesTheSpace(t *testing.T) {
	a := allocated(t)
	keys := spaceapi.KeysFor(environment.Driver)
	for _, result := range a.Results {
		ns := environment.Objects(a, result, result.NamespaceName("ns-"), space(unchanged)).Namespace
		if ns.Name != result.NamespaceName("ns-") {
			t.Errorf("got name %s, want %s", ns.Name, result.NamespaceName("ns-"))
		}
		if !a.Owns(ns, keys) {
			t.Errorf("Owns returns false for namespace %s", ns.Name)
		}
		for key, value := range ns.Labels {
			if msgs := validation.IsValidLabelValue(value); len(msgs) > 0 {
				t.Errorf("label %s: %s", key, msgs)
			}
		}
		want := map[string]string{keys.ClaimNamespace: "team", keys.ClaimName: a.Claim.Name, keys.Request: result.Request, keys.DeviceClass: result.Class, keys.Pool: result.Pool, keys.TokenAudiences: "https://a.example.com,b", keys.MaxTerminationGracePeriod: "90", keys.Config: space(unchanged).Encode()}
		if !maps.Equal(ns.Annotations, want) {
			t.Errorf("got annotations %v, want %v", ns.Annotations, want)
		}
	}
}

func TestObjects_namespaceHasLabelsAndAnnotationsOfTheClass(t *testing.T) {
	keys := spaceapi.KeysFor(environment.Driver)
	want := spaceWith(t, environment, unchanged).Namespace
	want.Labels["team"], want.Annotations["example.com/url"] = "blue", "https://x"
	got := spaceWith(t, environment, func(s *config.SpaceConfig) {
		s.Labels = map[string]string{"team": "blue", keys.ClaimUID: "x", keys.AllocationID: "x", "pod-security.kubernetes.io/enforce": "privileged"}
		s.Annotations = map[string]string{"example.com/url": "https://x", keys.ClaimName: "x", keys.Config: "{}"}
	}).Namespace
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got.ObjectMeta, want.ObjectMeta)
	}
}

func TestObjects_namespaceHasPodSecurityLabels(t *testing.T) {
	for _, test := range []struct {
		config spaceapi.PodSecurity
		want   map[string]string
	}{
		{spaceapi.PodSecurity{Enforce: "baseline"}, map[string]string{"enforce": "baseline"}},
		{spaceapi.PodSecurity{Enforce: "baseline", Warn: "restricted"}, map[string]string{"enforce": "baseline", "warn": "restricted"}},
		{spaceapi.PodSecurity{Enforce: "restricted", EnforceVersion: "v1.34", Audit: "privileged", WarnVersion: "latest"},
			map[string]string{"enforce": "restricted", "enforce-version": "v1.34", "audit": "privileged", "warn-version": "latest"}},
	} {
		got := map[string]string{}
		for key, value := range spaceWith(t, environment, func(s *config.SpaceConfig) { s.PodSecurity = test.config }).Namespace.Labels {
			if mode, ok := strings.CutPrefix(key, "pod-security.kubernetes.io/"); ok {
				got[mode] = value
			}
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%+v: got %v, want %v", test.config, got, test.want)
		}
	}
}

func TestObjects_namespaceRecordsNestedSpacesAndClass(t *testing.T) {
	a := allocated(t)
	keys := spaceapi.KeysFor(environment.Driver)
	for allowed, want := range map[bool]string{false: "", true: "Allowed"} {
		ns := environment.Objects(a, a.Results[0], "ns", space(func(s *config.SpaceConfig) { s.AllowNestedSpaces = allowed })).Namespace
		if got := ns.Labels[keys.NestedSpaces]; got != want {
			t.Errorf("allowed %t: got label %q, want %q", allowed, got, want)
		}
		if got := ns.Annotations[keys.DeviceClass]; got != "small" {
			t.Errorf("got class %q, want small", got)
		}
	}
}

func TestInherit_keepsExistingLabels(t *testing.T) {
	objects := resources.Objects{Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"team": "class", "empty": ""}}}}
	objects.Inherit([]string{"team", "empty", "cost-center", "absent"}, map[string]string{"team": "namespace", "empty": "x", "cost-center": "4711", "other": "x"})
	if got, want := objects.Namespace.Labels, map[string]string{"team": "class", "empty": "", "cost-center": "4711"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestObjects_quotaLimitsToThePartOfTheBudget(t *testing.T) {
	a := allocated(t)
	result := a.Results[0]
	result.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{
		"spaces": resource.MustParse("1"), "cpu": resource.MustParse("2"), "memory": resource.MustParse("4Gi"), "pods": resource.MustParse("10"), "colour": resource.MustParse("3"),
	}
	with := space(func(s *config.SpaceConfig) {
		s.ResourceQuota = &corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			"requests.memory": resource.MustParse("1Gi"), "pods": resource.MustParse("20"), "services": resource.MustParse("5"),
		}}
	})
	quota := environment.Objects(a, result, "ns", with).ResourceQuota
	got := map[string]string{}
	for name, quantity := range quota.Spec.Hard {
		got[string(name)] = quantity.String()
	}
	if want := map[string]string{"requests.cpu": "2", "requests.memory": "1Gi", "pods": "10", "services": "5"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestObjects_quotaHasTheLimitsOfTheClass(t *testing.T) {
	a := allocated(t)
	if got := environment.Objects(a, a.Results[0], "ns", space(unchanged)).ResourceQuota; got != nil {
		t.Errorf("without any limit: got %v", got)
	}
	list := corev1.ResourceList{"pods": resource.MustParse("4"), "requests.cpu": resource.MustParse("1500u")}
	quota := environment.Objects(a, a.Results[0], "ns", space(func(s *config.SpaceConfig) {
		s.ResourceQuota = &corev1.ResourceQuotaSpec{Hard: list, Scopes: []corev1.ResourceQuotaScope{"NotTerminating"}}
	})).ResourceQuota
	if quota == nil || quota.Name != "space" || quota.Namespace != "ns" {
		t.Fatalf("got %v, want a ResourceQuota ns/space", quota)
	}
	if len(quota.Spec.Scopes) != 1 || len(list) != 2 {
		t.Errorf("got scopes %v; the list is %v", quota.Spec.Scopes, list)
	}
	got := map[string]string{}
	for name, quantity := range quota.Spec.Hard {
		got[string(name)] = quantity.String()
	}
	if want := map[string]string{"pods": "4", "requests.cpu": "2m"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestObjects_limitRangeHasDefaultsOfTheAPIServer(t *testing.T) {
	q := func(s string) corev1.ResourceList { return corev1.ResourceList{"cpu": resource.MustParse(s)} }
	limits := []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Max: q("2"), Min: q("1500u")},
		{Type: corev1.LimitTypeContainer, Default: q("1")},
		{Type: corev1.LimitTypeContainer, DefaultRequest: q("100m"), Default: q("1"), Max: q("2")},
		{Type: corev1.LimitTypeContainer, Min: q("10m")},
		{Type: corev1.LimitTypePod, Max: q("4")},
	}
	want := []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Max: q("2"), Min: q("2m"), Default: q("2"), DefaultRequest: q("2")},
		{Type: corev1.LimitTypeContainer, Default: q("1"), DefaultRequest: q("1")},
		{Type: corev1.LimitTypeContainer, DefaultRequest: q("100m"), Default: q("1"), Max: q("2")},
		{Type: corev1.LimitTypeContainer, Min: q("10m"), DefaultRequest: q("10m")},
		{Type: corev1.LimitTypePod, Max: q("4")},
	}
	got := spaceWith(t, environment, func(s *config.SpaceConfig) { s.LimitRange = &corev1.LimitRangeSpec{Limits: limits} }).LimitRange
	if got.Name != "space" || !equality.Semantic.DeepEqual(got.Spec.Limits, want) {
		t.Errorf("got %s with\n%+v, want\n%+v", got.Name, got.Spec.Limits, want)
	}
	if limits[0].Default != nil {
		t.Error("the limits of the class were modified")
	}
	if got := spaceWith(t, environment, unchanged).LimitRange; got != nil {
		t.Errorf("without limits: got %v", got)
	}
}

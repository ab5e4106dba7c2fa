// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package blueprint_test

import (
	"maps"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

var settings = blueprint.Settings{Driver: "space.example.org", NamespacePrefix: "ns-", ClusterRole: "view"}

func allocation(t *testing.T) *identity.Allocation {
	t.Helper()
	claim := &resourceapi.ResourceClaim{
		// Claim names can be longer than a label's value.
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: strings.Repeat("long.", 20) + "name", UID: "claim-uid"},
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{
			{Name: "main", FirstAvailable: []resourceapi.DeviceSubRequest{{Name: "large", DeviceClassName: "large"}, {Name: "small", DeviceClassName: "small"}}},
			{Name: "other", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "exact"}},
		}}},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{
			Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{
				{Driver: settings.Driver, Request: "main/small", Pool: "spaces", Device: "a"},
				{Driver: settings.Driver, Request: "other", Pool: "spaces", Device: "b"},
			}},
		}},
	}
	a := identity.Of(claim, settings.Driver)
	if a == nil {
		t.Fatal("the claim is not allocated")
	}
	return a
}

func TestTheNamespaceRecordsWhoseSpaceItIs(t *testing.T) {
	a := allocation(t)
	keys := spaceapi.KeysFor(settings.Driver)
	for _, share := range a.Shares {
		ns := settings.For(a, share, share.NamespaceName("ns-"), parameters.Effective{}).Namespace
		if ns.Name != share.NamespaceName("ns-") {
			t.Errorf("got name %s, want %s", ns.Name, share.NamespaceName("ns-"))
		}
		if !a.Owns(ns, keys) {
			t.Errorf("the allocation does not know namespace %s, made for it, as its own", ns.Name)
		}
		for key, value := range ns.Labels {
			if msgs := validation.IsValidLabelValue(value); len(msgs) > 0 {
				t.Errorf("label %s: %s", key, msgs)
			}
		}
		want := map[string]string{keys.ClaimNamespace: "team", keys.ClaimName: a.Claim.Name, keys.Request: share.Request, keys.DeviceClass: share.Class}
		if !maps.Equal(ns.Annotations, want) {
			t.Errorf("got annotations %v, want %v", ns.Annotations, want)
		}
	}
}

func TestTheServiceAccountHasRightsInItsNamespaceOnly(t *testing.T) {
	a := allocation(t)
	space := settings.For(a, a.Shares[0], a.Shares[0].NamespaceName("ns-"), parameters.Effective{})
	ns := space.Namespace.Name
	if space.ServiceAccount.Namespace != ns || space.ServiceAccount.Name != spaceapi.ServiceAccountName {
		t.Errorf("the ServiceAccount is %s/%s", space.ServiceAccount.Namespace, space.ServiceAccount.Name)
	}
	binding := space.RoleBinding
	if binding.Namespace != ns || binding.Name != spaceapi.RoleBindingName {
		t.Errorf("the RoleBinding is %s/%s", binding.Namespace, binding.Name)
	}
	if want := (rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "view"}); binding.RoleRef != want {
		t.Errorf("got role %v, want %v", binding.RoleRef, want)
	}
	if want := (rbacv1.Subject{Kind: "ServiceAccount", Namespace: ns, Name: spaceapi.ServiceAccountName}); len(binding.Subjects) != 1 || binding.Subjects[0] != want {
		t.Errorf("got subjects %v, want only %v", binding.Subjects, want)
	}
}

func TestTheObjectsOfASpaceDoNotShareTheirRecords(t *testing.T) {
	a := allocation(t)
	space := settings.For(a, a.Shares[0], a.Shares[0].NamespaceName("ns-"), parameters.Effective{})
	space.ServiceAccount.Labels["tenant"] = "x"
	space.RoleBinding.Annotations["tenant"] = "x"
	for _, m := range []map[string]string{space.Namespace.Labels, space.Namespace.Annotations, space.RoleBinding.Labels, space.ServiceAccount.Annotations} {
		if _, ok := m["tenant"]; ok {
			t.Error("a change to one object's record shows in another's")
		}
	}
}

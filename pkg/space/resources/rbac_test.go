// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources_test

import (
	"maps"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

func TestObjects_bindsTheServiceAccountInItsNamespace(t *testing.T) {
	a := allocated(t)
	made := environment.Objects(a, a.Results[0], a.Results[0].NamespaceName("ns-"), space(unchanged))
	ns := made.Namespace.Name
	if made.ServiceAccount.Namespace != ns || made.ServiceAccount.Name != spaceapi.ServiceAccountName {
		t.Errorf("the ServiceAccount is %s/%s", made.ServiceAccount.Namespace, made.ServiceAccount.Name)
	}
	binding := made.RoleBindings[0]
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

func TestObjects_bindsRoles(t *testing.T) {
	space := spaceWith(t, environment, func(s *config.SpaceConfig) {
		s.ClusterRoles, s.ClusterWideRoles = []string{"admin", "view"}, []string{"crd-reader", "node-reader"}
	})
	var inside []string
	for _, binding := range space.RoleBindings {
		inside = append(inside, binding.Name+"="+binding.RoleRef.Name)
		if binding.Namespace != space.Namespace.Name || !slices.Equal(binding.Subjects, space.RoleBindings[0].Subjects) {
			t.Errorf("%s/%s is for %v", binding.Namespace, binding.Name, binding.Subjects)
		}
	}
	if want := []string{"space=admin", "space-2=view"}; !slices.Equal(inside, want) {
		t.Errorf("the roles in the namespace are %q, want %q", inside, want)
	}
	var names []string
	for _, binding := range space.ClusterRoleBindings {
		names = append(names, binding.Name)
		if binding.Name != space.Namespace.Name+":"+binding.RoleRef.Name || binding.RoleRef.Kind != "ClusterRole" {
			t.Errorf("%s gives %v", binding.Name, binding.RoleRef)
		}
		if !slices.Equal(binding.Subjects, space.RoleBindings[0].Subjects) {
			t.Errorf("%s is for %v", binding.Name, binding.Subjects)
		}
		if !maps.Equal(binding.Labels, space.RoleBindings[0].Labels) {
			t.Errorf("%s has the labels %v", binding.Name, binding.Labels)
		}
	}
	if len(names) != 2 {
		t.Errorf("the bindings in the whole cluster are %q", names)
	}
}

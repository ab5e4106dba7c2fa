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

func TestObjects_bindsRoles(t *testing.T) {
	space := spaceWith(t, environment, func(s *config.SpaceConfig) {
		s.ClusterRoles, s.ClusterWideRoles = []string{"admin", "view"}, []string{"crd-reader", "node-reader"}
	})
	ns := space.Namespace.Name
	if space.ServiceAccount.Namespace != ns || space.ServiceAccount.Name != spaceapi.ServiceAccountName {
		t.Errorf("the ServiceAccount is %s/%s", space.ServiceAccount.Namespace, space.ServiceAccount.Name)
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: spaceapi.ServiceAccountName}}
	var bindings []string
	for _, binding := range space.RoleBindings {
		bindings = append(bindings, binding.Name+"="+binding.RoleRef.Name)
		if role := (rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: binding.RoleRef.Name}); binding.Namespace != ns || binding.RoleRef != role || !slices.Equal(binding.Subjects, subjects) {
			t.Errorf("%s/%s binds %v to %v", binding.Namespace, binding.Name, binding.RoleRef, binding.Subjects)
		}
	}
	if want := []string{"space=admin", "space-2=view"}; !slices.Equal(bindings, want) {
		t.Errorf("got RoleBindings %q, want %q", bindings, want)
	}
	var names []string
	for _, binding := range space.ClusterRoleBindings {
		names = append(names, binding.Name)
		if binding.Name != ns+":"+binding.RoleRef.Name || binding.RoleRef.Kind != "ClusterRole" {
			t.Errorf("%s binds %v", binding.Name, binding.RoleRef)
		}
		if !slices.Equal(binding.Subjects, subjects) {
			t.Errorf("%s has the subjects %v", binding.Name, binding.Subjects)
		}
		if !maps.Equal(binding.Labels, space.RoleBindings[0].Labels) {
			t.Errorf("%s has the labels %v", binding.Name, binding.Labels)
		}
	}
	if len(names) != 2 {
		t.Errorf("got ClusterRoleBindings %q, want 2", names)
	}
}

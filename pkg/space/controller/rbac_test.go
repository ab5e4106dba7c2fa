// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestSampleRequest_isAllowedByTheRole(t *testing.T) {
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole { return &rbacv1.ClusterRole{Rules: rules} }
	if got := sampleRequest(role(rbacv1.PolicyRule{NonResourceURLs: []string{"/x"}, Verbs: []string{"get"}})); got != nil {
		t.Errorf("for a role with URLs only, got %v", got)
	}
	got := sampleRequest(role(rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/"}},
		rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"deployments/scale"}, Verbs: []string{"patch"}, ResourceNames: []string{"one"}}))
	if got == nil || got.Group != "apps" || got.Resource != "deployments" || got.Subresource != "scale" || got.Verb != "patch" || got.Name != "one" {
		t.Errorf("got %v", got)
	}
}

func TestWaitForRBAC_repeatsTheReview(t *testing.T) {
	c := newCluster(t)
	reviews := 0
	c.react("create subjectaccessreviews", func(obj client.Object) (bool, error) {
		reviews++
		obj.(*authorizationv1.SubjectAccessReview).Status.Allowed = reviews == 3
		return true, nil
	})
	space := &desiredSpace{name: "ns"}
	if err := c.waitForRBAC(t.Context(), space, "absent", "ns"); err == nil || !strings.Contains(err.Error(), "ClusterRole absent") {
		t.Errorf("a role that does not exist: %v", err)
	}
	if err := c.waitForRBAC(t.Context(), space, "edit", "ns"); err != nil || reviews != 3 {
		t.Errorf("RBAC that takes effect: %v after %d reviews", err, reviews)
	}
	if err := c.waitForRBAC(t.Context(), space, "edit", "ns"); err == nil || !strings.Contains(err.Error(), "ns/space (ClusterRole edit: create pods) has not taken effect yet") {
		t.Errorf("RBAC that never takes effect: %v", err)
	}
}

func TestCanTenantsBind_readsAllRolesOfSpaces(t *testing.T) {
	for name, test := range map[string]struct {
		configure func(*Config)
		want      bool
	}{
		"defaults":                   {func(*Config) {}, false},
		"an allowed role":            {func(config *Config) { config.Defaults.AllowedClusterRoles = []string{"binder"} }, true},
		"a cluster-wide role":        {func(config *Config) { config.Defaults.ClusterWideRoles = []string{"binder"} }, true},
		"a role that does not exist": {func(config *Config) { config.Defaults.AllowedClusterRoles = []string{"absent"} }, false},
	} {
		c := newClusterWith(t, test.configure)
		c.putInCache(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "binder"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"create"}},
		}})
		if got, err := c.canTenantsBind(t.Context()); err != nil || got != test.want {
			t.Errorf("%s: got %t, error %v, want %t", name, got, err, test.want)
		}
	}
}

func TestCanWriteRoleBindings_readsTheRulesOfTheRole(t *testing.T) {
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole { return &rbacv1.ClusterRole{Rules: rules} }
	for name, test := range map[string]struct {
		role *rbacv1.ClusterRole
		want bool
	}{
		"no role":              {nil, false},
		"everything":           {role(rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}), true},
		"reading":              {role(rbacv1.PolicyRule{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"get", "list"}}), false},
		"creating":             {role(rbacv1.PolicyRule{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: []string{"get", "create"}}), true},
		"of another API group": {role(rbacv1.PolicyRule{APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: []string{"*"}}), false},
	} {
		if got := canWriteRoleBindings(test.role); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

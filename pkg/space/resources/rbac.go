// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// roleBindings bind the space's ClusterRoles in its namespace.
func roleBindings(meta func(string) metav1.ObjectMeta, namespace string, space config.Recorded) (out []*rbacv1.RoleBinding) {
	for i, name := range RoleBindingNames(space) {
		out = append(out, &rbacv1.RoleBinding{ObjectMeta: meta(name), RoleRef: clusterRole(space.ClusterRoles[i]), Subjects: subjects(namespace)})
	}
	return out
}

// RoleBindingNames returns the names of the bindings of a space's ClusterRoles: space,
// space-2 and so on. They do not depend on the roles, so that RBAC can name them.
func RoleBindingNames(space config.Recorded) (names []string) {
	for i := range space.ClusterRoles {
		name := spaceapi.RoleBindingName
		if i > 0 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		names = append(names, name)
	}
	return names
}

// clusterRoleBindings bind the space's ClusterRoles in the whole cluster.
func clusterRoleBindings(meta func(string) metav1.ObjectMeta, namespace string, space config.Recorded) (out []*rbacv1.ClusterRoleBinding) {
	for _, role := range space.ClusterWideRoles {
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: meta(ClusterRoleBindingName(namespace, role)), RoleRef: clusterRole(role), Subjects: subjects(namespace)}
		binding.Namespace = ""
		out = append(out, binding)
	}
	return out
}

// ClusterRoleBindingName returns the name of the ClusterRoleBinding of a role for the space in a
// namespace.
func ClusterRoleBindingName(namespace, role string) string { return namespace + ":" + role }

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
}

func subjects(namespace string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: spaceapi.ServiceAccountName}}
}

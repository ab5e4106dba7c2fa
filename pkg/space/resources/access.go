// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"strconv"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// AccessBindings returns the RoleBindings of the access that a space gives at a time, AccessReady or
// AccessRetained.
func AccessBindings(meta func(string) metav1.ObjectMeta, space config.Recorded, at spaceapi.AccessTime) (out []*rbacv1.RoleBinding) {
	for i, access := range space.Access {
		if access.When == at || access.When == spaceapi.AccessAlways {
			out = append(out, &rbacv1.RoleBinding{ObjectMeta: meta(AccessBindingName(i)), RoleRef: clusterRole(access.ClusterRole), Subjects: access.Subjects})
		}
	}
	return out
}

// AccessBindingName returns the name of the RoleBinding of an entry. It does not depend on the role, so
// that RBAC can name it, nor on the time.
func AccessBindingName(entry int) string {
	return spaceapi.AccessBindingPrefix + strconv.Itoa(entry+1)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"

	rbacv1 "k8s.io/api/rbac/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// complete sets the defaults of fields of the access of a class, and returns it. The API server sets the
// same API group in the subjects of RoleBindings.
func complete(access []spaceapi.Access) []spaceapi.Access {
	for i := range access {
		access[i].When = cmp.Or(access[i].When, spaceapi.AccessReady)
		for j, subject := range access[i].Subjects {
			if subject.Kind != rbacv1.ServiceAccountKind {
				access[i].Subjects[j].APIGroup = rbacv1.GroupName
			}
		}
	}
	return access
}

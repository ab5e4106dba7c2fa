// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// AccessBindingPrefix is the prefix of the names of the RoleBindings of a class's access. The
	// number of the entry follows.
	AccessBindingPrefix = "space-access-"

	// MaxAccess is the maximum number of entries. The controller's permissions name as many
	// RoleBindings.
	MaxAccess = 8
)

// Access binds a ClusterRole in the namespace of a space to users, groups and ServiceAccounts.
type Access struct {
	// Subjects are those of the RoleBinding.
	Subjects []rbacv1.Subject `json:"subjects"`

	// ClusterRole is the ClusterRole. The controller needs permission to bind it.
	ClusterRole string `json:"clusterRole"`

	// When is Ready, Retained or Always. The default is Ready.
	When AccessTime `json:"when,omitempty"`
}

// AccessTime is when subjects have access to a space.
type AccessTime string

const (
	// AccessReady is from when the space is provisioned until it is deprovisioned.
	AccessReady AccessTime = "Ready"
	// AccessRetained is while the namespace of a deprovisioned space is retained.
	AccessRetained AccessTime = "Retained"
	// AccessAlways is both.
	AccessAlways AccessTime = "Always"
)

func validateAccess(list []Access, at *field.Path) (errs field.ErrorList) {
	if len(list) > MaxAccess {
		errs = append(errs, field.TooMany(at, len(list), MaxAccess))
	}
	for i, access := range list {
		at := at.Index(i)
		if len(access.Subjects) == 0 {
			errs = append(errs, field.Required(at.Child("subjects"), "must have users, groups or ServiceAccounts"))
		}
		errs = append(errs, validateSize(len(access.Subjects), at.Child("subjects"))...)
		for j, subject := range access.Subjects {
			errs = append(errs, validateSubject(subject, at.Child("subjects").Index(j))...)
		}
		errs = append(errs, validateClusterRole(access.ClusterRole, at.Child("clusterRole"))...)
		errs = append(errs, validateEnum(access.When, at.Child("when"), AccessReady, AccessRetained, AccessAlways)...)
	}
	return errs
}

// validateSubject applies the rules of RoleBindings. It also rejects users and groups whose names
// Kubernetes reserves, such as those of all users, or of all ServiceAccounts, which include other tenants.
func validateSubject(s rbacv1.Subject, at *field.Path) (errs field.ErrorList) {
	apiGroup := rbacv1.GroupName
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		apiGroup = ""
		errs = append(errs, invalid(at.Child("name"), s.Name, validation.IsDNS1123Subdomain(s.Name))...)
		errs = append(errs, invalid(at.Child("namespace"), s.Namespace, validation.IsDNS1123Label(s.Namespace))...)
	case rbacv1.UserKind, rbacv1.GroupKind:
		if s.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "must be the name of a user or group"))
		}
		of, ofNamespace := strings.CutPrefix(s.Name, "system:serviceaccounts:")
		if strings.HasPrefix(s.Name, "system:") && (s.Kind != rbacv1.GroupKind || !ofNamespace || of == "") {
			errs = append(errs, field.Invalid(at.Child("name"), s.Name, "must not begin with system:, except for groups system:serviceaccounts:<namespace>"))
		}
		// An admission policy compares the name with the annotation that records it as JSON.
		if text, err := json.Marshal(s.Name); err != nil || string(text) != `"`+s.Name+`"` {
			errs = append(errs, field.Invalid(at.Child("name"), s.Name, `must not contain any of " \ < > & or control characters`))
		}
		if s.Namespace != "" {
			errs = append(errs, field.Forbidden(at.Child("namespace"), "only ServiceAccounts have a namespace"))
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.UserKind, rbacv1.GroupKind, rbacv1.ServiceAccountKind}))
	}
	if s.APIGroup != "" && s.APIGroup != apiGroup {
		errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{apiGroup}))
	}
	return errs
}

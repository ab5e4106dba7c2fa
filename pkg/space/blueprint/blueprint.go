// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package blueprint says what a space consists of. It only describes: the
// functions are pure, and the controller does the writing.
package blueprint

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// Settings are the same for all spaces of an installation.
type Settings struct {
	// Driver is the driver's name.
	Driver string
	// NamespacePrefix starts the namespaces' names.
	NamespacePrefix string
	// ClusterRole is what the ServiceAccount may do in the namespace.
	ClusterRole string
}

// Space is everything that one share of an allocation is to have.
type Space struct {
	Share          identity.Share
	Namespace      *corev1.Namespace
	ServiceAccount *corev1.ServiceAccount
	RoleBinding    *rbacv1.RoleBinding
}

// For describes the space of one share.
func (s Settings) For(a *identity.Allocation, share identity.Share) Space {
	keys := spaceapi.KeysFor(s.Driver)
	name := share.NamespaceName(s.NamespacePrefix)
	labels := func() map[string]string {
		return map[string]string{
			keys.ClaimUID:     string(a.ClaimUID),
			keys.AllocationID: a.ID,
		}
	}
	annotations := func() map[string]string {
		return map[string]string{
			keys.ClaimNamespace: a.Claim.Namespace,
			keys.ClaimName:      a.Claim.Name,
			keys.Request:        share.Request,
		}
	}
	inside := func(name, namespace string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels(), Annotations: annotations()}
	}
	return Space{
		Share:     share,
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(), Annotations: annotations()}},
		ServiceAccount: &corev1.ServiceAccount{
			ObjectMeta: inside(spaceapi.ServiceAccountName, name),
		},
		RoleBinding: &rbacv1.RoleBinding{
			ObjectMeta: inside(spaceapi.RoleBindingName, name),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: s.ClusterRole},
			Subjects: []rbacv1.Subject{{
				Kind:      rbacv1.ServiceAccountKind,
				Namespace: name,
				Name:      spaceapi.ServiceAccountName,
			}},
		},
	}
}

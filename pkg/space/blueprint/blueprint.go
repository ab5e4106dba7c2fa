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
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// podSecurityLabel is defined by Kubernetes' Pod Security admission.
const podSecurityLabel = "pod-security.kubernetes.io/enforce"

// Settings are the same for all spaces of an installation.
type Settings struct {
	// Driver is the driver's name.
	Driver string
	// NamespacePrefix starts the namespaces' names.
	NamespacePrefix string
	// ClusterRole is what the ServiceAccount may do in the namespace.
	ClusterRole string
	// PodSecurity is the Pod Security Standard that pods in the namespace have to
	// keep; without one, a tenant could run a privileged pod and own the node.
	PodSecurity string
}

// Space is everything that one share of an allocation is to have.
type Space struct {
	Share          identity.Share
	Namespace      *corev1.Namespace
	ServiceAccount *corev1.ServiceAccount
	RoleBinding    *rbacv1.RoleBinding
	// DefaultAccount is what pods run as that name no ServiceAccount. Without it
	// they are refused; kube-controller-manager makes it, but some time later.
	DefaultAccount *corev1.ServiceAccount
}

// For describes the space of one share, in the namespace of that name.
func (s Settings) For(a *identity.Allocation, share identity.Share, name string, with parameters.Effective) Space {
	keys := spaceapi.KeysFor(s.Driver)
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
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(), Annotations: annotations()}}
	namespace.Labels[podSecurityLabel] = s.PodSecurity
	// On the namespace, because the claim no longer knows when it comes to that.
	if with.Retain > 0 {
		namespace.Annotations[keys.Retain] = with.Retain.String()
	}
	return Space{
		Share:     share,
		Namespace: namespace,
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
		DefaultAccount: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: spaceapi.DefaultAccountName, Namespace: name}},
	}
}

// RootCA describes a namespace's copy of the ConfigMap with the certificates that
// pods trust for the API server, as another namespace has it. It is exactly what
// kube-controller-manager makes, which keeps it up to date from then on.
func RootCA(of *corev1.ConfigMap, namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: spaceapi.RootCAName, Namespace: namespace, Annotations: of.Annotations},
		Data:       of.Data,
	}
}

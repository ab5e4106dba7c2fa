// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package blueprint says what a space consists of. It only describes: the
// functions are pure, and the controller does the writing.
package blueprint

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

// Labels of Kubernetes' Pod Security admission begin like this.
const podSecurityLabel = "pod-security.kubernetes.io/"

// Settings are the same for all spaces of an installation: what holds where
// nothing else was said, and what is true of the cluster.
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
	// Network says whom pods can reach.
	Network spaceapi.NetworkIsolation
	// DNS and APIServer are where isolated pods reach those.
	DNS       DNS
	APIServer []Destination
}

// Space is everything that one share of an allocation is to have.
type Space struct {
	Share          identity.Share
	Namespace      *corev1.Namespace
	ServiceAccount *corev1.ServiceAccount
	RoleBinding    *rbacv1.RoleBinding
	// ClusterRoleBindings lack the UID of the namespace as their owner.
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	// DefaultAccount is what pods run as that name no ServiceAccount. Without it
	// they are refused; kube-controller-manager makes it, but some time later.
	DefaultAccount *corev1.ServiceAccount
	// ResourceQuota, LimitRange and NetworkPolicy are nil where there are no limits.
	ResourceQuota *corev1.ResourceQuota
	LimitRange    *corev1.LimitRange
	NetworkPolicy *networkingv1.NetworkPolicy
	// Copies are what is copied from other namespaces.
	Copies []Copy
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
	inside := func(object string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: object, Namespace: name, Labels: labels(), Annotations: annotations()}
	}
	subjects := func() []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: name, Name: spaceapi.ServiceAccountName}}
	}
	space := Space{
		Share:          share,
		Namespace:      &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels(), Annotations: annotations()}},
		ServiceAccount: &corev1.ServiceAccount{ObjectMeta: inside(spaceapi.ServiceAccountName), ImagePullSecrets: pullSecrets(with.Copy)},
		RoleBinding: &rbacv1.RoleBinding{
			ObjectMeta: inside(spaceapi.RoleBindingName),
			RoleRef:    clusterRole(s.Role(with)),
			Subjects:   subjects(),
		},
		DefaultAccount: &corev1.ServiceAccount{
			ObjectMeta:       metav1.ObjectMeta{Name: spaceapi.DefaultAccountName, Namespace: name},
			ImagePullSecrets: pullSecrets(with.Copy),
		},
		ResourceQuota: quota(inside(spaceapi.LimitsName), share, with),
		LimitRange:    limits(inside(spaceapi.LimitsName), with),
		NetworkPolicy: s.isolation(inside(spaceapi.LimitsName), with),
		Copies:        copies(with.Copy),
	}
	for _, role := range with.ClusterWideRoles {
		space.ClusterRoleBindings = append(space.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: ClusterRoleBindingName(name, role), Labels: labels(), Annotations: annotations()},
			RoleRef:    clusterRole(role),
			Subjects:   subjects(),
		})
	}
	for i := range space.Copies {
		space.Copies[i].Namespace, space.Copies[i].Labels = name, labels()
	}

	s.add(space.Namespace.Labels, with.Labels)
	s.add(space.Namespace.Annotations, with.Annotations)
	enforce := with.PodSecurity.Enforce
	if enforce == "" {
		enforce = s.PodSecurity
	}
	for mode, standard := range map[string]string{"enforce": enforce, "audit": with.PodSecurity.Audit, "warn": with.PodSecurity.Warn} {
		if standard != "" {
			space.Namespace.Labels[podSecurityLabel+mode] = standard
		}
	}
	// For the admission policy that keeps tenants from opening it.
	if space.NetworkPolicy != nil {
		space.Namespace.Labels[keys.Network] = string(spaceapi.NetworkIsolated)
	}
	// For the admission policy that refuses requests for spaces in a space.
	if with.NestedSpaces {
		space.Namespace.Labels[keys.NestedSpaces] = spaceapi.NestedSpacesAllowed
	}
	if share.Class != "" {
		space.Namespace.Annotations[keys.DeviceClass] = share.Class
	}
	// On the namespace, because the claim no longer knows when it comes to that.
	if len(with.ClusterWideRoles) > 0 {
		space.Namespace.Annotations[keys.ClusterWideRoles] = strings.Join(with.ClusterWideRoles, ",")
	}
	if with.Retain > 0 {
		space.Namespace.Annotations[keys.Retain] = with.Retain.String()
	}
	return space
}

// ClusterRoleBindingName is what the binding of a cluster-wide role is called.
func ClusterRoleBindingName(namespace, role string) string { return namespace + ":" + role }

// ClusterWideRoles are those that a namespace's record says the space has.
func ClusterWideRoles(ns *corev1.Namespace, keys spaceapi.Keys) []string {
	roles := ns.Annotations[keys.ClusterWideRoles]
	if roles == "" {
		return nil
	}
	return strings.Split(roles, ",")
}

// Role is the ClusterRole that the ServiceAccount gets in the namespace.
func (s Settings) Role(with parameters.Effective) string {
	if with.ClusterRole != "" {
		return with.ClusterRole
	}
	return s.ClusterRole
}

// Name is what the share's namespace is called.
func (s Settings) Name(share identity.Share, with parameters.Effective) string {
	if with.NamespacePrefix != "" {
		return share.NamespaceName(with.NamespacePrefix)
	}
	return share.NamespaceName(s.NamespacePrefix)
}

// add puts what others want into a namespace's labels or annotations. What the
// driver and Pod Security admission read is not for them to say.
func (s Settings) add(to, from map[string]string) {
	for key, value := range from {
		if !strings.HasPrefix(key, s.Driver+"/") && !strings.HasPrefix(key, podSecurityLabel) {
			to[key] = value
		}
	}
}

func clusterRole(name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
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

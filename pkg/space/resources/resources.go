// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resources describes the desired objects of a space. Its functions are pure. The
// controller creates the objects.
package resources

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
)

// Environment has the properties of the cluster that the objects of spaces depend on. When it
// changes, the controller updates the objects.
type Environment struct {
	// Driver is the driver's name.
	Driver string
	// DNS and APIServer are where isolated pods can reach these.
	DNS       DNS
	APIServer []Destination
	// TokenAudiences are the audiences of the API server. There are none if they are unknown.
	TokenAudiences []string
}

// Objects are the objects of one space.
type Objects struct {
	Namespace      *corev1.Namespace
	ServiceAccount *corev1.ServiceAccount
	// RoleBindings bind the ClusterRoles in the namespace. There is at least one.
	RoleBindings []*rbacv1.RoleBinding
	// ClusterRoleBindings have no owner. The controller adds the Namespace when its UID is known.
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	// AccessBindings bind the roles of others while the space is ready.
	AccessBindings []*rbacv1.RoleBinding
	// DefaultServiceAccount is the ServiceAccount of pods without serviceAccountName, which are
	// rejected if it does not exist. kube-controller-manager creates it, but later.
	DefaultServiceAccount *corev1.ServiceAccount
	// ResourceQuota, LimitRange and NetworkPolicy are nil if there are no limits.
	ResourceQuota *corev1.ResourceQuota
	LimitRange    *corev1.LimitRange
	NetworkPolicy *networkingv1.NetworkPolicy
	// ownEgress is the number of egress rules that do not depend on the environment.
	ownEgress int
	// Copies are the copies of Secrets and ConfigMaps of other namespaces.
	Copies []Copy
}

// Objects returns the objects of the space of a result, in the namespace of that name.
func (e Environment) Objects(a *allocation.Allocation, result allocation.Result, name string, space config.SpaceConfig) Objects {
	meta := func(object string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: object, Namespace: name, Labels: e.labels(a), Annotations: e.annotations(a, result)}
	}
	from := ptr.Deref(space.CopyFrom, spaceapi.CopyFrom{})
	return Objects{
		Namespace:           e.namespace(a, result, name, space),
		ServiceAccount:      &corev1.ServiceAccount{ObjectMeta: meta(spaceapi.ServiceAccountName), ImagePullSecrets: pullSecrets(from)},
		RoleBindings:        roleBindings(meta, name, space.Recorded),
		ClusterRoleBindings: clusterRoleBindings(meta, name, space.Recorded),
		AccessBindings:      AccessBindings(meta, space.Recorded, spaceapi.AccessReady),
		DefaultServiceAccount: &corev1.ServiceAccount{
			ObjectMeta:       metav1.ObjectMeta{Name: spaceapi.DefaultServiceAccountName, Namespace: name},
			ImagePullSecrets: pullSecrets(from),
		},
		ResourceQuota: resourceQuota(meta(spaceapi.ObjectName), result, space.Recorded),
		LimitRange:    limitRange(meta(spaceapi.ObjectName), space.Recorded),
		NetworkPolicy: e.networkPolicy(meta(spaceapi.ObjectName), space.Recorded),
		ownEgress:     1 + len(space.Network.Egress),
		Copies:        copies(from, name, e.labels(a)),
	}
}

// labels returns the labels that identify the claim and the allocation of each object.
func (e Environment) labels(a *allocation.Allocation) map[string]string {
	keys := spaceapi.KeysFor(e.Driver)
	return map[string]string{
		keys.ClaimUID:     string(a.ClaimUID),
		keys.AllocationID: a.ID,
	}
}

// annotations returns the annotations that name the claim and the request of each object.
func (e Environment) annotations(a *allocation.Allocation, result allocation.Result) map[string]string {
	keys := spaceapi.KeysFor(e.Driver)
	return map[string]string{
		keys.ClaimNamespace: a.Claim.Namespace,
		keys.ClaimName:      a.Claim.Name,
		keys.Request:        result.Request,
	}
}

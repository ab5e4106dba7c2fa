// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// docs/parameters.md has the default and the limits of each field, and examples.

// SpaceClassConfigKind is the kind of [SpaceClassConfig].
const SpaceClassConfigKind = "SpaceClassConfig"

// SpaceClassConfig is the opaque parameters of a DeviceClass, for administrators: what
// spaces of the class are like, and what a claim can choose. Unknown fields are rejected.
// A field that is absent has its default, which can come from the flags of the driver. If a
// class has several, later ones replace earlier ones field by field, and maps are merged key
// by key.
type SpaceClassConfig struct {
	metav1.TypeMeta `json:",inline"`

	// NamespacePrefix is the start of the namespaces' names; ten characters follow.
	NamespacePrefix string `json:"namespacePrefix,omitempty"`

	// Labels are added to the Namespace.
	Labels map[string]string `json:"labels,omitempty"`

	// InheritLabels are the keys of labels that are copied from the claim's namespace when
	// the space is provisioned. Labels of class and claim take precedence.
	InheritLabels []string `json:"inheritLabels,omitempty"`

	// AllowedLabels are the keys of labels that a claim can set.
	AllowedLabels []string `json:"allowedLabels,omitempty"`

	// Annotations are added to the Namespace.
	Annotations map[string]string `json:"annotations,omitempty"`

	// ClusterRoles are bound to the space's ServiceAccount in its namespace, unless the
	// claim chooses others. The controller needs permission to bind them.
	ClusterRoles []string `json:"clusterRoles,omitempty"`

	// AllowedClusterRoles are the ClusterRoles that a claim can choose in addition to clusterRoles.
	// The controller needs permission to bind them, too.
	AllowedClusterRoles []string `json:"allowedClusterRoles,omitempty"`

	// ClusterWideRoles are ClusterRoles that are bound in the whole cluster.
	ClusterWideRoles []string `json:"clusterWideRoles,omitempty"`

	// PodSecurity is the Pod Security Standards for the namespace.
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits what all objects in the namespace can use together, like the spec
	// of a ResourceQuota. Its hard limits are merged key by key.
	ResourceQuota *corev1.ResourceQuotaSpec `json:"resourceQuota,omitempty"`

	// LimitRange limits single containers, pods and volumes in the namespace, and gives them
	// defaults, like the spec of a LimitRange.
	LimitRange *corev1.LimitRangeSpec `json:"limitRange,omitempty"`

	// Network is who pods in the space can reach and be reached by, where the cluster
	// enforces NetworkPolicies.
	Network *Network `json:"network,omitempty"`

	// TokenLifetime is the lifetime of tokens. They are renewed after two thirds of it.
	TokenLifetime *metav1.Duration `json:"tokenLifetime,omitempty"`

	// MaxLifetime is how long a space can exist, counted from the allocation of its claim.
	// After that the space is deprovisioned although the claim is still allocated.
	// All spaces of a claim expire together, after the shortest of their lifetimes.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// MaxTerminationGracePeriod limits the grace periods of pods in the space, so that they end
	// soon after the space is deprovisioned. The default is 5m.
	MaxTerminationGracePeriod *metav1.Duration `json:"maxTerminationGracePeriod,omitempty"`

	// Retention keeps the namespace for debugging after the claim was deallocated or the
	// space expired. The credentials are revoked, but pods in it keep running.
	Retention *Retention `json:"retention,omitempty"`

	// CopyFrom names objects that are copied into each space. If a class has several
	// configurations, the last copyFrom replaces the others as a whole.
	CopyFrom *CopyFrom `json:"copyFrom,omitempty"`

	// AllowAdminAccess lets claims with adminAccess have a space of this class. Its
	// ServiceAccount always has the ClusterRole view and no other.
	AllowAdminAccess *bool `json:"allowAdminAccess,omitempty"`

	// AllowNestedSpaces allows pods and claims in the space to request spaces.
	AllowNestedSpaces *bool `json:"allowNestedSpaces,omitempty"`

	// Exclusive keeps a second pod from using a claim while a first one does. Later
	// parameters of class or claim cannot revert this.
	Exclusive bool `json:"exclusive,omitempty"`

	// Env become environment variables `admin_<key>`.
	Env map[string]string `json:"env,omitempty"`
}

// PodSecurity is the Pod Security Standards for a namespace.
type PodSecurity struct {
	// Enforce is the standard that pods have to meet.
	Enforce string `json:"enforce,omitempty"`

	// EnforceVersion is the version of Kubernetes whose definition of the standard applies.
	EnforceVersion string `json:"enforceVersion,omitempty"`

	// Audit is the standard whose violations are added to the audit log.
	Audit string `json:"audit,omitempty"`

	// AuditVersion is the version for audit.
	AuditVersion string `json:"auditVersion,omitempty"`

	// Warn is the standard whose violations are answered with a warning.
	Warn string `json:"warn,omitempty"`

	// WarnVersion is the version for warn.
	WarnVersion string `json:"warnVersion,omitempty"`
}

// Network is who pods in a space can reach and be reached by.
type Network struct {
	// Mode says whether the space is isolated.
	Mode NetworkMode `json:"mode,omitempty"`

	// Ingress are more rules for what can reach pods of an isolated space.
	Ingress []networkingv1.NetworkPolicyIngressRule `json:"ingress,omitempty"`

	// Egress are more rules for what pods of an isolated space can reach.
	Egress []networkingv1.NetworkPolicyEgressRule `json:"egress,omitempty"`
}

// NetworkMode says whether a space is isolated.
type NetworkMode string

const (
	// NetworkIsolated lets pods reach each other within the space, DNS and the API server,
	// and nothing else.
	NetworkIsolated NetworkMode = "Isolated"
	// NetworkOpen sets no limits.
	NetworkOpen NetworkMode = "Open"
)

// Retention is how namespaces of deprovisioned spaces are kept.
type Retention struct {
	// Period is how long the namespace is kept.
	Period metav1.Duration `json:"period"`
}

// CopyFrom names objects in a namespace that are copied into each space.
type CopyFrom struct {
	// Namespace has the originals.
	Namespace string `json:"namespace"`

	// Secrets are copied with their names.
	Secrets []CopySource `json:"secrets,omitempty"`

	// ConfigMaps are copied with their names.
	ConfigMaps []CopySource `json:"configMaps,omitempty"`

	// ImagePullSecrets are Secrets that are copied as well, and that pods which run as the
	// ServiceAccounts default or space pull images with.
	ImagePullSecrets []CopySource `json:"imagePullSecrets,omitempty"`
}

// CopySource names an object to copy.
type CopySource struct {
	// Name is the object's.
	Name string `json:"name"`
}

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

// SpaceClassConfig is the opaque parameters of a DeviceClass, for administrators. It
// configures the spaces of the class, and what claims can choose. Unknown fields are rejected.
// The default of a field can come from the flags of the driver. If a class has several, later
// ones replace earlier ones field by field, and maps are merged key by key.
type SpaceClassConfig struct {
	metav1.TypeMeta `json:",inline"`

	// NamespacePrefix is the prefix of the names of namespaces. The driver appends ten characters.
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

	// Access gives others than the pods of the claim access to the namespace.
	Access []Access `json:"access,omitempty"`

	// PodSecurity is the Pod Security Standards for the namespace.
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits the total resource consumption in the namespace. It is the spec of a
	// ResourceQuota. Its hard limits are merged key by key.
	ResourceQuota *corev1.ResourceQuotaSpec `json:"resourceQuota,omitempty"`

	// LimitRange limits each container, pod and volume in the namespace, and sets defaults. It is
	// the spec of a LimitRange.
	LimitRange *corev1.LimitRangeSpec `json:"limitRange,omitempty"`

	// Network restricts the network access of pods in the space, if the cluster enforces
	// NetworkPolicies.
	Network *Network `json:"network,omitempty"`

	// TokenLifetime is the lifetime of tokens. They are renewed after two thirds of it.
	TokenLifetime *metav1.Duration `json:"tokenLifetime,omitempty"`

	// MaxLifetime is how long a space can exist, counted from the allocation of its claim.
	// After that the space is deprovisioned although the claim is still allocated.
	// All spaces of a claim expire together, after the shortest of their lifetimes.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// MaxExtension is how much longer than MaxLifetime a space can exist if an annotation of its
	// claim extends it. The default is that it cannot be extended.
	MaxExtension *metav1.Duration `json:"maxExtension,omitempty"`
	// MaxTerminationGracePeriod limits the grace periods of pods in the space, so that they
	// terminate soon after the space is deprovisioned. The default is 5m.
	MaxTerminationGracePeriod *metav1.Duration `json:"maxTerminationGracePeriod,omitempty"`

	// Retention retains the namespace for debugging after the claim was deallocated or the
	// space expired. The credentials are revoked, but pods in it continue to run.
	Retention *Retention `json:"retention,omitempty"`

	// CopyFrom names objects that are copied into each space. If a class has several
	// configurations, the last copyFrom replaces the others. It is not merged.
	CopyFrom *CopyFrom `json:"copyFrom,omitempty"`

	// AllowAdminAccess allows requests with adminAccess. The ServiceAccount of their space
	// always has the ClusterRole view and no other.
	AllowAdminAccess *bool `json:"allowAdminAccess,omitempty"`

	// AllowNestedSpaces allows pods and claims in the space to request spaces.
	AllowNestedSpaces *bool `json:"allowNestedSpaces,omitempty"`

	// DisableEtcMount omits the directory in /etc that has the name of the claim.
	DisableEtcMount *bool `json:"disableEtcMount,omitempty"`

	// Exclusive allows only one pod at a time to use a claim. Later parameters of the class or the
	// claim cannot disable it.
	Exclusive bool `json:"exclusive,omitempty"`

	// Env has the environment variables of containers, as `admin_<key>`.
	Env map[string]string `json:"env,omitempty"`
}

// PodSecurity is the Pod Security Standards for a namespace.
type PodSecurity struct {
	// Enforce is the standard that pods have to meet.
	Enforce string `json:"enforce,omitempty"`

	// EnforceVersion is the version of Kubernetes whose definition applies to Enforce, as in v1.34, or
	// latest.
	EnforceVersion string `json:"enforceVersion,omitempty"`

	// Audit is the standard whose violations are added to the audit log.
	Audit string `json:"audit,omitempty"`

	// AuditVersion is the version of Kubernetes whose definition applies to Audit.
	AuditVersion string `json:"auditVersion,omitempty"`

	// Warn is the standard whose violations cause a warning to the client.
	Warn string `json:"warn,omitempty"`

	// WarnVersion is the version of Kubernetes whose definition applies to Warn.
	WarnVersion string `json:"warnVersion,omitempty"`
}

// Network restricts the network access of pods in a space.
type Network struct {
	// Mode is Isolated or Open.
	Mode NetworkMode `json:"mode,omitempty"`

	// Ingress are additional rules for traffic to pods of an isolated space.
	Ingress []networkingv1.NetworkPolicyIngressRule `json:"ingress,omitempty"`

	// Egress are additional rules for traffic from pods of an isolated space.
	Egress []networkingv1.NetworkPolicyEgressRule `json:"egress,omitempty"`
}

// NetworkMode is whether a space is isolated.
type NetworkMode string

const (
	// NetworkIsolated allows traffic only between pods of the space, and to DNS and the API
	// server.
	NetworkIsolated NetworkMode = "Isolated"
	// NetworkOpen allows all traffic.
	NetworkOpen NetworkMode = "Open"
)

// Retention configures for how long namespaces of deprovisioned spaces are kept.
type Retention struct {
	// Period is how long the namespace is kept.
	Period metav1.Duration `json:"period"`
	// When is Always or OnFailure. The default is Always.
	When RetentionWhen `json:"when,omitempty"`
}

// RetentionWhen is when the namespace of a deprovisioned space is retained.
type RetentionWhen string

const (
	// RetainAlways retains all namespaces.
	RetainAlways RetentionWhen = "Always"
	// RetainOnFailure retains a namespace if a pod that used its claim failed.
	RetainOnFailure RetentionWhen = "OnFailure"
)

// CopyFrom names objects in a namespace that are copied into each space.
type CopyFrom struct {
	// Namespace is the namespace of the originals.
	Namespace string `json:"namespace"`

	// Secrets are copied with their names.
	Secrets []CopySource `json:"secrets,omitempty"`

	// ConfigMaps are copied with their names.
	ConfigMaps []CopySource `json:"configMaps,omitempty"`

	// ImagePullSecrets are Secrets that are copied, too, and that become imagePullSecrets of
	// the ServiceAccounts default and space.
	ImagePullSecrets []CopySource `json:"imagePullSecrets,omitempty"`
}

// CopySource names an object to copy.
type CopySource struct {
	// Name is the name of the object.
	Name string `json:"name"`
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SpaceClassConfigKind is the kind of [SpaceClassConfig].
const SpaceClassConfigKind = "SpaceClassConfig"

// SpaceClassConfig is what an administrator says about spaces in a DeviceClass,
// as opaque parameters for the driver: what they are like, and what a claim may
// choose. Unknown fields are refused. Each field that is absent leaves it at what
// the installation has.
type SpaceClassConfig struct {
	metav1.TypeMeta `json:",inline"`

	// NamespacePrefix is the start of the namespaces' names; ten characters follow.
	NamespacePrefix string `json:"namespacePrefix,omitempty"`

	// Labels are added to the Namespace. Keys of the driver's own domain and those
	// of Pod Security admission are refused.
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations are added to the Namespace. Keys of the driver's own domain are
	// refused.
	Annotations map[string]string `json:"annotations,omitempty"`

	// ClusterRole is what a space's ServiceAccount may do in its namespace, unless
	// the claim chooses another one of AllowedClusterRoles.
	ClusterRole string `json:"clusterRole,omitempty"`

	// AllowedClusterRoles are the ClusterRoles that a claim may choose, besides
	// ClusterRole. The controller needs the right to bind each of them: the
	// installation's values name them.
	AllowedClusterRoles []string `json:"allowedClusterRoles,omitempty"`

	// ClusterWideRoles are ClusterRoles that the ServiceAccount also gets for the
	// whole cluster, such as one that allows reading CustomResourceDefinitions.
	ClusterWideRoles []string `json:"clusterWideRoles,omitempty"`

	// PodSecurity says which Pod Security Standards hold in the namespace.
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits what all objects in the namespace may use together, as
	// in the field `hard` of a ResourceQuota.
	ResourceQuota corev1.ResourceList `json:"resourceQuota,omitempty"`

	// NestedSpaces allows pods in the space to ask for spaces themselves.
	// Absent or false: a quota keeps them from it.
	NestedSpaces bool `json:"nestedSpaces,omitempty"`

	// LimitRange says what single containers, pods and volumes in the namespace
	// get and may have, as in the field `limits` of a LimitRange.
	LimitRange []corev1.LimitRangeItem `json:"limitRange,omitempty"`

	// Network says whom pods in the space can reach, where the cluster enforces
	// network policies.
	Network NetworkIsolation `json:"network,omitempty"`

	// TokenLifetime is the lifetime of tokens, at least 10m. They are renewed after
	// two thirds of it.
	TokenLifetime *metav1.Duration `json:"tokenLifetime,omitempty"`

	// MaxLifetime is how long a space may exist, counted from the allocation of
	// its claim, as a duration such as 8h. When it is over, the space is ended
	// although the claim is still allocated: its credentials are revoked, the
	// namespace is deleted, the condition Ready is False with reason Expired. The
	// spaces of one claim end together, at the shortest of their lifetimes.
	// Absent: without a limit.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// Retain is how long the namespace is kept after the claim was deallocated or
	// the space expired, with its credentials revoked, for somebody to look into,
	// as a duration such as 30m. What runs in it goes on meanwhile. Absent: the
	// namespace is deleted at once.
	Retain *metav1.Duration `json:"retain,omitempty"`

	// Copy names objects that each space gets a copy of.
	Copy *Copy `json:"copy,omitempty"`

	// AdminAccess lets claims with adminAccess have a space of this class. They get
	// it with the ClusterRole `view`, whatever else is said.
	AdminAccess bool `json:"adminAccess,omitempty"`

	// Exclusive keeps a second pod from using a claim while a first one does.
	Exclusive bool `json:"exclusive,omitempty"`

	// Parameters become environment variables admin_<key>. A key has letters,
	// digits and underscores.
	Parameters map[string]string `json:"parameters,omitempty"`
}

// SpaceClaimConfigKind is the kind of [SpaceClaimConfig].
const SpaceClaimConfigKind = "SpaceClaimConfig"

// SpaceClaimConfig is what a user says about spaces in a ResourceClaim or a
// template, as opaque parameters for the driver: a choice within what the class
// allows, never more. Unknown fields are refused.
type SpaceClaimConfig struct {
	metav1.TypeMeta `json:",inline"`

	// ClusterRole is one that the class allows. Absent: the class's.
	ClusterRole string `json:"clusterRole,omitempty"`

	// Labels are added to the Namespace. Keys of kubernetes.io, k8s.io and the
	// driver's own domain, and keys that the class sets, are refused.
	Labels map[string]string `json:"labels,omitempty"`

	// PodSecurity names stricter Pod Security Standards than the class's.
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota has values no larger than the class's, and may limit what the
	// class does not.
	ResourceQuota corev1.ResourceList `json:"resourceQuota,omitempty"`

	// Network can be Isolated where the class has Open.
	Network NetworkIsolation `json:"network,omitempty"`

	// MaxLifetime is no longer than the class's.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// VariablePrefix replaces the prefix of the environment variables: capital
	// letters, digits and underscores, with a letter first. It must not be given
	// for several requests at once.
	VariablePrefix string `json:"variablePrefix,omitempty"`

	// MountPath is one more directory at which containers find the space's files.
	// It is absolute and no system directory.
	MountPath string `json:"mountPath,omitempty"`

	// InCluster puts the space's files where clients look that run in a cluster,
	// /var/run/secrets/kubernetes.io/serviceaccount, in place of the pod's own.
	InCluster bool `json:"inCluster,omitempty"`

	// KubeconfigEnv also sets the variable KUBECONFIG, which kubectl and others read.
	KubeconfigEnv bool `json:"kubeconfigEnv,omitempty"`

	// Exclusive keeps a second pod from using the claim while a first one does.
	Exclusive bool `json:"exclusive,omitempty"`

	// Parameters become environment variables user_<key>. A key has letters,
	// digits and underscores.
	Parameters map[string]string `json:"parameters,omitempty"`
}

// PodSecurity names Pod Security Standards: privileged, baseline or restricted.
type PodSecurity struct {
	// Enforce is the standard that pods have to keep.
	Enforce string `json:"enforce,omitempty"`
	// Audit is the standard whose violations are noted in the audit log.
	Audit string `json:"audit,omitempty"`
	// Warn is the standard whose violations are answered with a warning.
	Warn string `json:"warn,omitempty"`
}

// NetworkIsolation says whom pods in a space can reach and be reached by.
type NetworkIsolation string

const (
	// NetworkIsolated pods reach each other within the space, DNS, and the API
	// server, and nobody else.
	NetworkIsolated NetworkIsolation = "Isolated"
	// NetworkOpen puts no limits.
	NetworkOpen NetworkIsolation = "Open"
)

// Copy names objects in a namespace, for each space to get a copy of. The
// installation's values name the namespaces that the controller may read.
type Copy struct {
	// Namespace has the originals.
	Namespace string `json:"namespace"`
	// Secrets and ConfigMaps are copied under their own names.
	Secrets    []string `json:"secrets,omitempty"`
	ConfigMaps []string `json:"configMaps,omitempty"`
	// ImagePullSecrets are Secrets that are copied too, and that pods in the space
	// pull images with, as long as they run as the ServiceAccounts default or space.
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`
}

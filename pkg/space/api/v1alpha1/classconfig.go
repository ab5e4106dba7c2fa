// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// docs/parameters.md is made of the comments here. Each field says its default
// and, unless it is true or false, its bounds.

// SpaceClassConfigKind is the kind of [SpaceClassConfig].
const SpaceClassConfigKind = "SpaceClassConfig"

// +k8s:deepcopy-gen=true
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SpaceClassConfig is what an administrator says about spaces in a DeviceClass,
// as opaque parameters for the driver: what they are like, and what a claim may
// choose. Unknown fields are refused. Each field that is absent leaves it at what
// the installation has. Of several in one class, later ones win field by field,
// and maps are put together key by key.
//
// Example:
//
//	apiVersion: resource.k8s.io/v1
//	kind: DeviceClass
//	metadata:
//	  name: ci-space
//	spec:
//	  selectors:
//	  - cel:
//	      expression: device.driver == "space.resource.example.com"
//	  config:
//	  - opaque:
//	      driver: space.resource.example.com
//	      parameters:
//	        apiVersion: space.resource.example.com/v1alpha1
//	        kind: SpaceClassConfig
//	        namespacePrefix: ci-
//	        labels:
//	          team: ci
//	        allowedLabels: [branch]
//	        clusterRole: edit
//	        allowedClusterRoles: [view, admin]
//	        podSecurity:
//	          enforce: baseline
//	          warn: restricted
//	        resourceQuota:
//	          requests.cpu: "4"
//	          requests.memory: 8Gi
//	          pods: "20"
//	        limitRange:
//	        - type: Container
//	          defaultRequest:
//	            cpu: 100m
//	            memory: 128Mi
//	        network: Isolated
//	        tokenLifetime: 30m
//	        maxLifetime: 8h
//	        retain: 30m
//	        copy:
//	          namespace: ci-shared
//	          imagePullSecrets: [registry]
//	        parameters:
//	          registry: registry.example.com
type SpaceClassConfig struct {
	metav1.TypeMeta `json:",inline"`

	// NamespacePrefix is the start of the namespaces' names; ten characters follow.
	//
	// Default: what the installation has.
	// Bounds: at most 53 small letters, digits and hyphens, with a letter or digit first.
	NamespacePrefix string `json:"namespacePrefix,omitempty"`

	// Labels are added to the Namespace.
	//
	// Default: none.
	// Bounds: at most 64, with keys and values as Kubernetes wants them for labels.
	// Keys of the driver's own domain, those of Pod Security admission
	// (pod-security.kubernetes.io), and kubernetes.io/metadata.name are refused.
	Labels map[string]string `json:"labels,omitempty"`

	// AllowedLabels are the keys of labels that a claim may set. The labels of a
	// namespace open doors, in others' NetworkPolicies for one: allow what nobody
	// else selects by.
	//
	// Default: none.
	// Bounds: at most 64 different ones, each a label's key, all keys of a domain as
	// in `example.com/*`, or all keys, `*`; what a claim can never set is refused
	// nevertheless. An empty list takes back what earlier parameters of the class allowed.
	AllowedLabels []string `json:"allowedLabels,omitempty"`

	// Annotations are added to the Namespace.
	//
	// Default: none.
	// Bounds: at most 64, with keys as Kubernetes wants them for annotations. Keys of
	// the driver's own domain are refused.
	Annotations map[string]string `json:"annotations,omitempty"`

	// ClusterRole is what a space's ServiceAccount may do in its namespace, unless
	// the claim chooses another one of allowedClusterRoles.
	//
	// Default: what the installation has.
	// Bounds: the name of a ClusterRole. The controller needs the right to bind it.
	ClusterRole string `json:"clusterRole,omitempty"`

	// AllowedClusterRoles are the ClusterRoles that a claim may choose, besides
	// clusterRole. The controller needs the right to bind each of them: the
	// installation's values name them.
	//
	// Default: none.
	// Bounds: at most 64 different names. An empty list takes back what earlier
	// parameters of the class allowed.
	AllowedClusterRoles []string `json:"allowedClusterRoles,omitempty"`

	// ClusterWideRoles are ClusterRoles that the ServiceAccount also gets for the
	// whole cluster, such as one that allows reading CustomResourceDefinitions.
	//
	// Default: none.
	// Bounds: at most 64 different names. An empty list takes back what earlier
	// parameters of the class gave.
	ClusterWideRoles []string `json:"clusterWideRoles,omitempty"`

	// PodSecurity says which Pod Security Standards hold in the namespace.
	//
	// Default: for each of its fields on its own, what the installation has.
	// Bounds: those of its fields.
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits what all objects in the namespace may use together, as
	// in the field `hard` of a ResourceQuota.
	//
	// Default: no limits.
	// Bounds: at most 64 names that a ResourceQuota takes, with quantities that are
	// not negative; what is counted has no fractions.
	ResourceQuota corev1.ResourceList `json:"resourceQuota,omitempty"`

	// NestedSpaces allows claims and pods in the space to ask for spaces themselves. If
	// it is false, they are refused.
	//
	// Default: false.
	NestedSpaces *bool `json:"nestedSpaces,omitempty"`

	// LimitRange says what single containers, pods and volumes in the namespace
	// get and may have, as in the field `limits` of a LimitRange.
	//
	// Default: no limits.
	// Bounds: what a LimitRange takes: an item at most for each of the types
	// Container, Pod and PersistentVolumeClaim, with min ≤ defaultRequest ≤ default ≤ max.
	LimitRange []corev1.LimitRangeItem `json:"limitRange,omitempty"`

	// Network says whom pods in the space can reach, where the cluster enforces
	// network policies.
	//
	// Default: what the installation has.
	// Bounds: Isolated or Open.
	Network NetworkIsolation `json:"network,omitempty"`

	// TokenLifetime is the lifetime of tokens. They are renewed after two thirds of it.
	//
	// Default: what the installation has.
	// Bounds: 10m to 1193046h, which is what the API server takes.
	TokenLifetime *metav1.Duration `json:"tokenLifetime,omitempty"`

	// MaxLifetime is how long a space may exist, counted from the allocation of
	// its claim. When it is over, the space is ended although the claim is still
	// allocated: its credentials are revoked, the namespace is deleted, the
	// condition Ready is False with reason Expired. The spaces of one claim end
	// together, at the shortest of their lifetimes.
	//
	// Default: without a limit.
	// Bounds: more than zero.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// Retain is how long the namespace is kept after the claim was deallocated or
	// the space expired, with its credentials revoked, for somebody to look into.
	// What runs in it goes on meanwhile.
	//
	// Default: the namespace is deleted at once.
	// Bounds: more than zero.
	Retain *metav1.Duration `json:"retain,omitempty"`

	// Copy names objects that each space gets a copy of. Of several parameters of
	// one class, the last that has it wins as a whole.
	//
	// Default: none.
	// Bounds: its namespace and at least one name.
	Copy *Copy `json:"copy,omitempty"`

	// AdminAccess lets claims with adminAccess have a space of this class. They get
	// it with the ClusterRole `view`, whatever else is said.
	//
	// Default: false.
	AdminAccess *bool `json:"adminAccess,omitempty"`

	// Exclusive keeps a second pod from using a claim while a first one does. Later
	// parameters of the class cannot take it back.
	//
	// Default: false.
	Exclusive bool `json:"exclusive,omitempty"`

	// Parameters become environment variables `admin_<key>`.
	//
	// Default: none.
	// Bounds: at most 64; a key has at most 63 letters, digits and underscores, a
	// value no NUL.
	Parameters map[string]string `json:"parameters,omitempty"`
}

// +k8s:deepcopy-gen=true

// PodSecurity names Pod Security Standards: privileged, baseline or restricted,
// from the laxest to the strictest.
type PodSecurity struct {
	// Enforce is the standard that pods have to keep.
	//
	// Default: the class's or the installation's.
	// Bounds: privileged, baseline or restricted.
	Enforce string `json:"enforce,omitempty"`

	// Audit is the standard whose violations are noted in the audit log.
	//
	// Default: the class's or the cluster's.
	// Bounds: privileged, baseline or restricted.
	Audit string `json:"audit,omitempty"`

	// Warn is the standard whose violations are answered with a warning.
	//
	// Default: the class's or the cluster's.
	// Bounds: privileged, baseline or restricted.
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

// +k8s:deepcopy-gen=true

// Copy names objects in a namespace, for each space to get a copy of. The
// installation's values name the namespaces that the controller may read.
type Copy struct {
	// Namespace has the originals.
	//
	// Default: none, it is required.
	// Bounds: the name of a namespace.
	Namespace string `json:"namespace"`

	// Secrets are copied under their own names.
	//
	// Default: none.
	// Bounds: at most 64 different names of Secrets.
	Secrets []string `json:"secrets,omitempty"`

	// ConfigMaps are copied under their own names.
	//
	// Default: none.
	// Bounds: at most 64 different names of ConfigMaps, but not kube-root-ca.crt,
	// which each namespace has its own of.
	ConfigMaps []string `json:"configMaps,omitempty"`

	// ImagePullSecrets are Secrets that are copied too, and that pods in the space
	// pull images with, as long as they run as the ServiceAccounts default or space.
	//
	// Default: none.
	// Bounds: at most 64 different names of Secrets.
	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SpaceClaimConfigKind is the kind of [SpaceClaimConfig].
const SpaceClaimConfigKind = "SpaceClaimConfig"

// SpaceClaimConfig is the opaque parameters of a ResourceClaim or a template, for users: a
// choice within what the class allows. Unknown fields are rejected. If a request has several,
// later ones replace earlier ones field by field, and maps are merged key by key. The result
// has to be within what the class allows.
type SpaceClaimConfig struct {
	metav1.TypeMeta `json:",inline"`

	// ClusterRoles are bound to the space's ServiceAccount in its namespace, in place of
	// the class's.
	ClusterRoles []string `json:"clusterRoles,omitempty"`

	// Labels are added to the Namespace.
	Labels map[string]string `json:"labels,omitempty"`

	// PodSecurity are stricter Pod Security Standards than the class's.
	PodSecurity *ClaimPodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits what all objects in the namespace can use together.
	ResourceQuota *ClaimResourceQuota `json:"resourceQuota,omitempty"`

	// Network isolates the space where the class leaves it open.
	Network *ClaimNetwork `json:"network,omitempty"`

	// MaxLifetime is how long the space can exist, counted from the allocation of
	// the claim.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// EnvPrefix replaces the prefix of the environment variables.
	EnvPrefix string `json:"envPrefix,omitempty"`

	// MountPath is one more directory at which containers find the space's files, or, if the
	// claim's name is that of a directory in /etc which is reserved, the one in its place.
	MountPath string `json:"mountPath,omitempty"`

	// InCluster mounts the space's files where in-cluster clients look for them,
	// /var/run/secrets/kubernetes.io/serviceaccount, in place of the pod's own.
	InCluster *bool `json:"inCluster,omitempty"`

	// KubeconfigEnv also sets the variable KUBECONFIG, which kubectl and other clients read.
	KubeconfigEnv *bool `json:"kubeconfigEnv,omitempty"`

	// EmbedToken also writes the token to the kubeconfig, for clients that do not read
	// the file that tokenFile names.
	EmbedToken *bool `json:"embedToken,omitempty"`

	// Exclusive keeps a second pod from using the claim while a first one does. It
	// holds for the whole claim. Later parameters cannot revert this.
	Exclusive bool `json:"exclusive,omitempty"`

	// Env become environment variables `user_<key>`.
	Env map[string]string `json:"env,omitempty"`
}

// ClaimPodSecurity are the Pod Security Standards that a claim can choose.
type ClaimPodSecurity struct {
	// Enforce is the standard that pods have to meet.
	Enforce string `json:"enforce,omitempty"`

	// Audit is the standard whose violations are added to the audit log.
	Audit string `json:"audit,omitempty"`

	// Warn is the standard whose violations cause a warning to the client.
	Warn string `json:"warn,omitempty"`
}

// ClaimResourceQuota is the quota that a claim can choose.
type ClaimResourceQuota struct {
	// Hard are the limits. They are merged with the class's, and may limit what the class
	// does not.
	Hard corev1.ResourceList `json:"hard,omitempty"`
}

// ClaimNetwork is the network that a claim can choose.
type ClaimNetwork struct {
	// Mode isolates the space.
	Mode NetworkMode `json:"mode,omitempty"`
}

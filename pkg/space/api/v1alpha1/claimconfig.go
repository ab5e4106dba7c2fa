// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SpaceClaimConfigKind is the kind of [SpaceClaimConfig].
const SpaceClaimConfigKind = "SpaceClaimConfig"

// SpaceClaimConfig is the opaque parameters of a ResourceClaim or a ResourceClaimTemplate, for users.
// Unknown fields are rejected. If a request has several, later ones replace earlier ones field by
// field, and maps are merged key by key. The class limits the result.
type SpaceClaimConfig struct {
	metav1.TypeMeta `json:",inline"`

	// ClusterRoles are bound to the space's ServiceAccount in its namespace, instead of those
	// of the class.
	ClusterRoles []string `json:"clusterRoles,omitempty"`

	// Labels are added to the Namespace.
	Labels map[string]string `json:"labels,omitempty"`

	// PodSecurity are Pod Security Standards that are stricter than those of the class.
	PodSecurity *ClaimPodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits the total resource consumption in the namespace.
	ResourceQuota *ClaimResourceQuota `json:"resourceQuota,omitempty"`

	// Network isolates the space where the class leaves it open.
	Network *ClaimNetwork `json:"network,omitempty"`

	// MaxLifetime is how long the space can exist, counted from the allocation of
	// the claim.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// EnvPrefix replaces the prefix of the environment variables.
	EnvPrefix string `json:"envPrefix,omitempty"`

	// MountPath is an additional directory in containers with the space's files. If /etc/<claim> is a
	// reserved directory, MountPath is used instead of it.
	MountPath string `json:"mountPath,omitempty"`

	// InCluster mounts the space's files at /var/run/secrets/kubernetes.io/serviceaccount, where
	// in-cluster clients look for them, instead of those of the pod's ServiceAccount.
	InCluster *bool `json:"inCluster,omitempty"`

	// KubeconfigEnv also sets the variable KUBECONFIG, which kubectl and other clients read.
	KubeconfigEnv *bool `json:"kubeconfigEnv,omitempty"`

	// EmbedToken also writes the token to the kubeconfig, for clients that do not support
	// tokenFile.
	EmbedToken *bool `json:"embedToken,omitempty"`

	// Exclusive allows only one pod at a time to use the claim. It applies to all requests of the
	// claim. Later parameters cannot disable it.
	Exclusive bool `json:"exclusive,omitempty"`

	// Env has the environment variables of containers, as `user_<key>`.
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
	// Hard are the limits. They are merged with those of the class, and can limit additional
	// resources.
	Hard corev1.ResourceList `json:"hard,omitempty"`
}

// ClaimNetwork is the network that a claim can choose.
type ClaimNetwork struct {
	// Mode isolates the space.
	Mode NetworkMode `json:"mode,omitempty"`
}

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
// choice within what the class allows, never more. Unknown fields are refused. Of several
// for one request, later ones win field by field, and maps are merged key by key; the
// result has to be within what the class allows.
//
// Example:
//
//	apiVersion: resource.k8s.io/v1
//	kind: ResourceClaim
//	metadata:
//	  name: test-claim
//	spec:
//	  devices:
//	    requests:
//	    - name: space
//	      exactly:
//	        deviceClassName: ci-space
//	    config:
//	    - requests: [space]
//	      opaque:
//	        driver: space.resource.example.com
//	        parameters:
//	          apiVersion: space.resource.example.com/v1alpha1
//	          kind: SpaceClaimConfig
//	          clusterRoles: [view]
//	          labels:
//	            branch: main
//	          podSecurity:
//	            enforce: restricted
//	          resourceQuota:
//	            hard:
//	              pods: "5"
//	          maxLifetime: 1h
//	          envPrefix: PREVIEW
//	          mountPath: /var/lib/preview
//	          kubeconfigEnv: true
//	          exclusive: true
//	          env:
//	            branch: main
type SpaceClaimConfig struct {
	metav1.TypeMeta `json:",inline"`

	// ClusterRoles are bound to the space's ServiceAccount in its namespace, in place of
	// the class's.
	//
	// Default: the class's.
	// Bounds: at most 8 different ones of the class's clusterRoles, if it has any, and its
	// allowedClusterRoles.
	ClusterRoles []string `json:"clusterRoles,omitempty"`

	// Labels are added to the Namespace.
	//
	// Default: none.
	// Bounds: at most 64, with keys that the class's allowedLabels allow, and keys and
	// values that Kubernetes accepts for labels. Keys of kubernetes.io, k8s.io and
	// the driver's own domain, those of domains below these, and keys that the class
	// sets are refused.
	Labels map[string]string `json:"labels,omitempty"`

	// PodSecurity are stricter Pod Security Standards than the class's.
	//
	// Default: for each of its fields on its own, the class's.
	PodSecurity *ClaimPodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits what all objects in the namespace can use together.
	//
	// Default: the class's.
	ResourceQuota *ClaimResourceQuota `json:"resourceQuota,omitempty"`

	// Network isolates the space where the class leaves it open.
	//
	// Default: the class's.
	Network *ClaimNetwork `json:"network,omitempty"`

	// MaxLifetime is how long the space can exist, counted from the allocation of
	// the claim.
	//
	// Default: the class's.
	// Bounds: greater than zero, and at most the class's.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// EnvPrefix replaces the prefix of the environment variables.
	//
	// Default: derived from the claim's name in the pod.
	// Bounds: at most 63 uppercase letters, digits and underscores, starting with a
	// letter. Parameters that have it must be for one space only.
	EnvPrefix string `json:"envPrefix,omitempty"`

	// MountPath is one more directory at which containers find the space's files.
	//
	// Default: none.
	// Bounds: an absolute path of at most 253 characters, without empty, `.` or `..`
	// parts or control characters, and none of the system directories below.
	MountPath string `json:"mountPath,omitempty"`

	// InCluster puts the space's files where in-cluster clients look for them,
	// /var/run/secrets/kubernetes.io/serviceaccount, in place of the pod's own.
	//
	// Default: false.
	InCluster *bool `json:"inCluster,omitempty"`

	// KubeconfigEnv also sets the variable KUBECONFIG, which kubectl and others read.
	//
	// Default: false.
	KubeconfigEnv *bool `json:"kubeconfigEnv,omitempty"`

	// Exclusive keeps a second pod from using the claim while a first one does. It
	// holds for the whole claim. Later parameters cannot revert this.
	//
	// Default: the class's.
	Exclusive bool `json:"exclusive,omitempty"`

	// Env become environment variables `user_<key>`.
	//
	// Default: none.
	// Bounds: at most 64. A key has at most 63 letters, digits and underscores; a value has
	// no NUL.
	Env map[string]string `json:"env,omitempty"`
}

// ClaimPodSecurity are the Pod Security Standards that a claim can choose.
type ClaimPodSecurity struct {
	// Enforce is the standard that pods have to meet.
	//
	// Default: the class's.
	// Bounds: privileged, baseline or restricted, and at least as strict as the class's or,
	// if it has none, the installation's.
	Enforce string `json:"enforce,omitempty"`

	// Audit is the standard whose violations are added to the audit log.
	//
	// Default: the class's.
	// Bounds: privileged, baseline or restricted, and at least as strict as the class's.
	Audit string `json:"audit,omitempty"`

	// Warn is the standard whose violations are answered with a warning.
	//
	// Default: the class's.
	// Bounds: privileged, baseline or restricted, and at least as strict as the class's.
	Warn string `json:"warn,omitempty"`
}

// ClaimResourceQuota is the quota that a claim can choose.
type ClaimResourceQuota struct {
	// Hard are the limits. They are merged with the class's, and may limit what the class
	// does not.
	//
	// Default: the class's.
	// Bounds: as in a class, and no value larger than the class's.
	Hard corev1.ResourceList `json:"hard,omitempty"`
}

// ClaimNetwork is the network that a claim can choose.
type ClaimNetwork struct {
	// Mode isolates the space.
	//
	// Default: the class's.
	// Bounds: Isolated.
	Mode NetworkMode `json:"mode,omitempty"`
}

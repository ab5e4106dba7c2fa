// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SpaceClaimConfigKind is the kind of [SpaceClaimConfig].
const SpaceClaimConfigKind = "SpaceClaimConfig"

// +k8s:deepcopy-gen=true
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// SpaceClaimConfig is what a user says about spaces in a ResourceClaim or a
// template, as opaque parameters for the driver: a choice within what the class
// allows, never more. Unknown fields are refused. Of several for one request,
// later ones win field by field, and maps are put together key by key; what comes
// of that has to be within what the class allows.
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
//	          clusterRole: view
//	          labels:
//	            branch: main
//	          podSecurity:
//	            enforce: restricted
//	          resourceQuota:
//	            pods: "5"
//	          maxLifetime: 1h
//	          variablePrefix: PREVIEW
//	          mountPath: /var/lib/preview
//	          kubeconfigEnv: true
//	          exclusive: true
//	          parameters:
//	            branch: main
type SpaceClaimConfig struct {
	metav1.TypeMeta `json:",inline"`

	// ClusterRole is what the space's ServiceAccount may do in its namespace.
	//
	// Default: the class's.
	// Bounds: the class's, if the class names one, or one of its allowedClusterRoles.
	ClusterRole string `json:"clusterRole,omitempty"`

	// Labels are added to the Namespace.
	//
	// Default: none.
	// Bounds: at most 64, with keys that the class's allowedLabels name, and keys and
	// values as Kubernetes wants them for labels. Keys of kubernetes.io, k8s.io and
	// the driver's own domain, those of domains below these, and keys that the class
	// sets are refused.
	Labels map[string]string `json:"labels,omitempty"`

	// PodSecurity names stricter Pod Security Standards than the class's.
	//
	// Default: for each of its fields on its own, what the class has.
	// Bounds: each at least as strict as in the class or, where the class does not
	// name it, in the installation.
	PodSecurity *PodSecurity `json:"podSecurity,omitempty"`

	// ResourceQuota limits what all objects in the namespace may use together, and
	// may limit what the class does not.
	//
	// Default: the class's.
	// Bounds: as in a class, and no value larger than the class's.
	ResourceQuota corev1.ResourceList `json:"resourceQuota,omitempty"`

	// Network can shut the space off where the class has it open.
	//
	// Default: the class's.
	// Bounds: Isolated.
	Network NetworkIsolation `json:"network,omitempty"`

	// MaxLifetime is how long the space may exist, counted from the allocation of
	// the claim.
	//
	// Default: the class's.
	// Bounds: more than zero, and no longer than the class's.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// VariablePrefix replaces the prefix of the environment variables.
	//
	// Default: made of the claim's name in the pod.
	// Bounds: at most 63 capital letters, digits and underscores, with a letter
	// first. Parameters that have it must be for one space only.
	VariablePrefix string `json:"variablePrefix,omitempty"`

	// MountPath is one more directory at which containers find the space's files.
	//
	// Default: none.
	// Bounds: an absolute path of at most 253 characters, without empty, `.` or `..`
	// parts or control characters, and none of the system directories below.
	MountPath string `json:"mountPath,omitempty"`

	// InCluster puts the space's files where clients look that run in a cluster,
	// /var/run/secrets/kubernetes.io/serviceaccount, in place of the pod's own.
	//
	// Default: false.
	InCluster *bool `json:"inCluster,omitempty"`

	// KubeconfigEnv also sets the variable KUBECONFIG, which kubectl and others read.
	//
	// Default: false.
	KubeconfigEnv *bool `json:"kubeconfigEnv,omitempty"`

	// Exclusive keeps a second pod from using the claim while a first one does. It
	// holds for the whole claim, and cannot be taken back where the class, or other
	// parameters of the claim, have it.
	//
	// Default: the class's.
	Exclusive bool `json:"exclusive,omitempty"`

	// Parameters become environment variables `user_<key>`.
	//
	// Default: none.
	// Bounds: at most 64; a key has at most 63 letters, digits and underscores, a
	// value no NUL.
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API of the Space DRA driver: the parameters of classes and claims,
// the status of spaces, and the names of labels, annotations, conditions and reasons.
package v1alpha1

import (
	"fmt"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// DefaultDriverName is the default name of the driver: the `driver` of ResourceSlices
	// and allocation results.
	DefaultDriverName = "space.resource.example.com"

	// APIVersion is the apiVersion of the objects in status.devices[].data and in
	// opaque parameters. It does not depend on the configured driver name.
	APIVersion = "space.resource.example.com/v1alpha1"

	// ServiceAccountName is the ServiceAccount in each space that the pods'
	// tokens belong to. It is the same in all spaces, so that RBAC can name it.
	ServiceAccountName = "space"

	// RoleBindingName is the RoleBinding in each space that binds the first of the
	// ServiceAccount's ClusterRoles. RoleBindings of the others have a number as suffix.
	RoleBindingName = "space"

	// MaxClusterRoles is the maximum number of ClusterRoles that a space has in its
	// namespace. The controller's permissions name as many RoleBindings.
	MaxClusterRoles = 8

	// ObjectName is the name of a space's ResourceQuota, LimitRange and NetworkPolicy.
	ObjectName = "space"

	// DefaultServiceAccountName is the ServiceAccount that kube-controller-manager creates
	// in each namespace. Pods without serviceAccountName cannot be created before it exists.
	DefaultServiceAccountName = "default"

	// RootCAName is the ConfigMap that kube-controller-manager creates in each namespace. Pods
	// that mount a token cannot start before it exists.
	RootCAName = "kube-root-ca.crt"

	// AdminAccessClusterRole is the ClusterRole of the ServiceAccount in a space of a request
	// with adminAccess.
	AdminAccessClusterRole = "view"

	// DefaultClusterRole is the default ClusterRole of the ServiceAccount in its space.
	DefaultClusterRole = "edit"

	// NestedSpacesAllowed is the value of the label Keys.NestedSpaces.
	NestedSpacesAllowed = "Allowed"

	// DefaultNamespacePrefix is the default prefix of the names of the spaces' namespaces.
	DefaultNamespacePrefix = "ephemeral-ns-"
)

// Keys are the label and annotation keys of the metadata of a space on
// its Namespace. They are prefixed with the driver's name, so that two
// drivers in one cluster never confuse their spaces.
type Keys struct {
	// ClaimUID is a label: the UID of the ResourceClaim.
	ClaimUID string
	// AllocationID is a label: the ID of that claim's allocation.
	AllocationID string
	// Network is a label: Isolated, or absent.
	Network string
	// NestedSpaces is a label: Allowed if claims in the namespace can
	// request spaces, or absent.
	NestedSpaces string
	// ClaimNamespace, ClaimName and Request are annotations, because claim and
	// request names can be longer than a label's value.
	ClaimNamespace string
	ClaimName      string
	Request        string
	// DeviceClass is an annotation: the DeviceClass that the request names.
	DeviceClass string
	// Pool is an annotation: the pool that the space was allocated from.
	Pool string
	// Config is an annotation: the configuration of the space when it was provisioned, as
	// JSON of config.Recorded. Later changes of classes and values do not affect it.
	Config string
	// MaxTerminationGracePeriod is an annotation: the longest grace period of pods in the
	// space, in seconds. An admission policy of the chart reads it.
	MaxTerminationGracePeriod string
	// RetainedUntil is an annotation: the space is deprovisioned, and its namespace is
	// retained until this time, in RFC 3339.
	RetainedUntil string
	// FailedPod is an annotation: a pod that used the claim and failed. Only spaces with retention
	// on failure have it.
	FailedPod string
	// Nodes is an annotation: the pods that use the claim and the nodes that they
	// are bound to, as <node>=<pod's UID>, separated by commas. Only a node in this
	// list can get tokens of the space.
	Nodes string
	// TokenAudiences is an annotation: the audiences of the API server, separated by commas. Nodes
	// get tokens of the space for these only.
	TokenAudiences string
	// DeletionRetriedAt is an annotation: when the controller last wrote to a namespace that is stuck
	// terminating, in RFC 3339. Kubernetes then tries again to delete it.
	DeletionRetriedAt string

	// Extension is an annotation of a claim, which users write: how much longer than their maximum
	// lifetime its spaces exist, within what their classes allow.
	Extension string
}

// KeysFor returns the keys that a driver with this name uses.
func KeysFor(driver string) Keys {
	return Keys{
		ClaimUID:                  driver + "/claim-uid",
		AllocationID:              driver + "/allocation-id",
		Network:                   driver + "/network",
		NestedSpaces:              driver + "/nested-spaces",
		ClaimNamespace:            driver + "/claim-namespace",
		ClaimName:                 driver + "/claim-name",
		Request:                   driver + "/request",
		DeviceClass:               driver + "/device-class",
		Pool:                      driver + "/pool",
		Config:                    driver + "/config",
		MaxTerminationGracePeriod: driver + "/max-termination-grace-period",
		RetainedUntil:             driver + "/retained-until",
		FailedPod:                 driver + "/failed-pod",
		Nodes:                     driver + "/nodes",
		TokenAudiences:            driver + "/token-audiences",
		DeletionRetriedAt:         driver + "/deletion-retried-at",
		Extension:                 driver + "/extension",
	}
}

// ValidateDriverName returns an error if a name is invalid for the driver. The rules are
// those of ResourceSlice.spec.driver.
func ValidateDriverName(name string) error {
	if len(name) > resourceapi.DriverNameMaxLength {
		return fmt.Errorf("driver name %q: must have at most %d characters", name, resourceapi.DriverNameMaxLength)
	}
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		return fmt.Errorf("driver name %q: %s", name, strings.Join(msgs, ", "))
	}
	return nil
}

// HolderLabel returns the label of pods that only keep a space. Their image has no cat: its program
// space-holder prints the token.
func HolderLabel(driver string) string { return driver + "/holder" }

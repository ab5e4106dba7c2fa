// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ConditionReady is the condition type in a ResourceClaim's status.devices[]:
// True when the space is ready, False with a reason and a message otherwise.
const ConditionReady = "Ready"

// ConditionBindingFailed is a binding failure condition: the scheduler deallocates the claim and
// retries. Only devices with binding conditions have it.
const ConditionBindingFailed = "BindingFailed"

// Reasons of the Ready condition. Events have the same reasons. docs/events.md describes what
// the driver does next, and what users and administrators can do.
const (
	// ReasonProvisioned means that the namespace and everything in it exist.
	ReasonProvisioned = "Provisioned"
	// ReasonProvisioningFailed means that the controller could not create or read an object.
	ReasonProvisioningFailed = "ProvisioningFailed"
	// ReasonInvalidParameters means that parameters of the class or the claim are invalid, or
	// request what the class or the Helm values do not allow. It is final for the allocation.
	ReasonInvalidParameters = "InvalidParameters"
	// ReasonNameConflict means that the namespace exists and does not belong to the driver.
	ReasonNameConflict = "NameConflict"
	// ReasonNamespaceTerminating means that the namespace is being deleted although the
	// claim is still allocated, or that it belongs to an earlier allocation of the same device.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonUnsupportedConsumer means that the claim is reserved for objects that are not pods.
	ReasonUnsupportedConsumer = "UnsupportedConsumer"
	// ReasonExpired means that the space reached its maximum lifetime. It is final for the
	// allocation.
	ReasonExpired = "Expired"
)

// Reasons of events that are not also reasons of the condition.
const (
	// ReasonRestored means that the controller restored a part of a space in use.
	ReasonRestored = "Restored"
	// ReasonChangedByAdmission means that admission plugins of the cluster changed an object of a
	// space when the controller wrote it.
	ReasonChangedByAdmission = "ChangedByAdmission"
	// ReasonNodesNotRecorded means that the controller could not add the nodes of new pods to the
	// Namespace. The API server denies these nodes tokens of the space.
	ReasonNodesNotRecorded = "NodesNotRecorded"
	// ReasonCopyFailed means that the controller could not update a copy in a space in use.
	ReasonCopyFailed = "CopyFailed"
	// ReasonAccessFailed means that the controller could not create, restore or revoke a RoleBinding
	// of the class's access, in a space in use or in a retained namespace.
	ReasonAccessFailed = "AccessFailed"
	// ReasonDeprovisioned means that the credentials are revoked and the namespace is being deleted.
	ReasonDeprovisioned = "Deprovisioned"
	// ReasonDeprovisioningFailed means that the controller could not revoke the credentials of a
	// space, which may still work, or delete its namespace.
	ReasonDeprovisioningFailed = "DeprovisioningFailed"
	// ReasonNamespaceRetained means that the credentials are revoked and the namespace is kept.
	ReasonNamespaceRetained = "NamespaceRetained"
	// ReasonStuckTerminating means that the deletion of a namespace takes too long. The
	// credentials are already revoked, unless ReasonDeprovisioningFailed is reported, too.
	ReasonStuckTerminating = "StuckTerminating"
	// ReasonExpiresSoon means that the space reaches its maximum lifetime soon.
	ReasonExpiresSoon = "ExpiresSoon"
	// ReasonInvalidExtension means that the annotation that extends the lifetime of a claim's spaces
	// is invalid, or exceeds what the class allows.
	ReasonInvalidExtension = "InvalidExtension"
	// ReasonTokenRenewalFailed means that a node has failed to renew the claim's tokens for at
	// least a minute.
	ReasonTokenRenewalFailed = "TokenRenewalFailed"
	// ReasonCredentialsReplaced means that running pods of a claim on a node have new
	// credentials: those of a new allocation, or because the files were removed.
	ReasonCredentialsReplaced = "CredentialsReplaced"
)

// SpaceStatusKind is the kind of [SpaceStatus].
const SpaceStatusKind = "SpaceStatus"

// SpaceStatus is what the controller reports about a space in
// status.devices[].data of the claim. It contains no secret.
type SpaceStatus struct {
	metav1.TypeMeta `json:",inline"`

	// AllocationID names the allocation that this space belongs to.
	AllocationID string `json:"allocationID"`
	// Namespace is the name of the space's namespace.
	Namespace string `json:"namespace"`
	// ServiceAccount is the name of the ServiceAccount that the pods' tokens belong to.
	ServiceAccount string `json:"serviceAccount"`
	// ServiceAccountUID changes when the controller recreates the ServiceAccount.
	// Tokens of its predecessor are invalid.
	ServiceAccountUID types.UID `json:"serviceAccountUID"`
	// Server is the URL of the API server as pods reach it.
	Server string `json:"server"`
	// Kubeconfig is a complete kubeconfig, which refers to the files `token` and `ca.crt` in
	// the containers.
	Kubeconfig string `json:"kubeconfig"`
	// ExpirationTimestamp is when the space reaches its maximum lifetime, and
	// MaxExpirationTimestamp is when it does so after the longest extension that its class
	// allows. Both are absent if the lifetime is not limited.
	ExpirationTimestamp    *metav1.Time `json:"expirationTimestamp,omitempty"`
	MaxExpirationTimestamp *metav1.Time `json:"maxExpirationTimestamp,omitempty"`
}

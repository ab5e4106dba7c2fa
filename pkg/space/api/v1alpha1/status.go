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

// ConditionFailed is a binding failure condition: the scheduler deallocates the claim and
// retries. Only devices with binding conditions have it.
const ConditionFailed = "Failed"

// Reasons of the Ready condition. Events have the same reasons. docs/events.md
// describes what users and administrators can do.
const (
	// ReasonProvisioned means that the namespace and everything in it exist.
	ReasonProvisioned = "Provisioned"
	// ReasonProvisioningFailed means that the controller could not create or read an
	// object. It retries with a back-off of at most a minute.
	ReasonProvisioningFailed = "ProvisioningFailed"
	// ReasonInvalidParameters means that parameters of the class or the claim are invalid,
	// or ask for what the class or the installation does not allow. The scheduler copies
	// parameters when it allocates a claim, so this is final for the allocation.
	ReasonInvalidParameters = "InvalidParameters"
	// ReasonNameConflict means that a namespace with the space's name exists and does not
	// belong to the driver. The controller neither uses nor deletes it.
	ReasonNameConflict = "NameConflict"
	// ReasonNamespaceTerminating means that the namespace is being deleted although the
	// claim is still allocated, or that an earlier use of the same device left it. The
	// controller recreates the namespace when it no longer exists.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonExpired means that the space reached the maximum lifetime of its class. The
	// controller deprovisions it although the claim is still allocated. This is final for
	// the allocation.
	ReasonExpired = "Expired"
)

// Reasons of events that are not also reasons of the condition.
const (
	// ReasonDriftCorrected means that the controller restored a part of a space in use that had
	// been deleted or changed.
	ReasonDriftCorrected = "DriftCorrected"
	// ReasonDeprovisioned means that the claim was deallocated, or that the space's lifetime is
	// over. The credentials are revoked, and the namespace is being deleted.
	ReasonDeprovisioned = "Deprovisioned"
	// ReasonDeprovisioningFailed means that the controller could not revoke the credentials of a
	// space, or delete its namespace. It retries with a back-off of at most a minute.
	// Until it succeeds, the credentials may work.
	ReasonDeprovisioningFailed = "DeprovisioningFailed"
	// ReasonNamespaceRetained means that the claim was deallocated and the credentials are revoked.
	// The namespace stays for as long as its class requires.
	ReasonNamespaceRetained = "NamespaceRetained"
	// ReasonStuckTerminating means that the deletion of a namespace takes too long. The
	// message has the reason from the namespace's own conditions. The event repeats from
	// time to time, and when the reason changes. The credentials are already revoked.
	ReasonStuckTerminating = "StuckTerminating"
	// ReasonTokenRenewalFailed means that a node has failed to renew the claim's tokens for at
	// least a minute. The event repeats every ten minutes.
	ReasonTokenRenewalFailed = "TokenRenewalFailed"
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
	// Kubeconfig is a complete kubeconfig, apart from the token. It refers to a file
	// `token` beside it.
	Kubeconfig string `json:"kubeconfig"`
}

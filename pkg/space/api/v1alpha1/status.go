// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ConditionReady is the condition type in a ResourceClaim's status.devices[]:
// True once the space can be used, False with a reason and a message otherwise.
const ConditionReady = "Ready"

// ConditionFailed is the condition type that makes the scheduler give the
// allocation up and try another one. Only devices with binding conditions have it.
const ConditionFailed = "Failed"

// Reasons of the Ready condition. Events use the same words.
const (
	// ReasonProvisioned: the namespace and everything in it exist.
	ReasonProvisioned = "Provisioned"
	// ReasonProvisioningFailed: something could not be created; it is tried again.
	ReasonProvisioningFailed = "ProvisioningFailed"
	// ReasonRefused: the claim asks for something that the driver does not give.
	// An allocation does not change, so this is final for it.
	ReasonRefused = "Refused"
	// ReasonNameConflict: a namespace with the space's name exists and is not ours.
	ReasonNameConflict = "NameConflict"
	// ReasonNamespaceTerminating: somebody deleted the namespace although the
	// claim is still allocated. A new one is made as soon as it has gone.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonExpired: the space outlived the maximum lifetime of its class, and was
	// ended although the claim is still allocated. This is final for the allocation.
	ReasonExpired = "Expired"
)

// Reasons of events that are not also reasons of the condition.
const (
	// ReasonRepaired: a part of a space in use had been deleted and was made again.
	ReasonRepaired = "Repaired"
	// ReasonDeleted: the claim was deallocated and its space was revoked and deleted.
	ReasonDeleted = "Deleted"
	// ReasonDeletionFailed: a space could not be revoked or deleted; it is tried again.
	ReasonDeletionFailed = "DeletionFailed"
	// ReasonRetained: the claim was deallocated and the credentials were revoked;
	// the namespace stays for a while, as its class wants.
	ReasonRetained = "Retained"
	// ReasonStuckTerminating: a deleted namespace does not go; the message has the
	// reason that the namespace's own conditions give.
	ReasonStuckTerminating = "StuckTerminating"
	// ReasonRenewalFailing: a node has tried in vain several times to renew the
	// claim's tokens.
	ReasonRenewalFailing = "RenewalFailing"
)

// SpaceStatusKind is the kind of [SpaceStatus].
const SpaceStatusKind = "SpaceStatus"

// SpaceStatus is what the controller says about a space in
// status.devices[].data of the claim. It holds no secret.
type SpaceStatus struct {
	metav1.TypeMeta `json:",inline"`

	// AllocationID names the allocation that this space was made for.
	AllocationID string `json:"allocationID"`
	// Namespace is the name of the space's namespace.
	Namespace string `json:"namespace"`
	// ServiceAccount is the name of the ServiceAccount that the pods' tokens belong to.
	ServiceAccount string `json:"serviceAccount"`
	// ServiceAccountUID changes when the ServiceAccount had to be made again;
	// tokens of its predecessor are dead then.
	ServiceAccountUID types.UID `json:"serviceAccountUID"`
	// Server is the URL of the API server as pods reach it.
	Server string `json:"server"`
	// Kubeconfig is a complete kubeconfig but for the token, which it expects in
	// a file `token` beside it.
	Kubeconfig string `json:"kubeconfig"`
}

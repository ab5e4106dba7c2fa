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

// Reasons of the Ready condition. Events use the same words. The last paragraph of
// each comment is for docs/events.md.
const (
	// ReasonProvisioned means that the namespace and everything in it exist.
	//
	// Ready: True
	// Event: Normal, on the claim.
	// Remedy: nothing to do.
	ReasonProvisioned = "Provisioned"
	// ReasonProvisioningFailed means that something could not be created or read. It is tried
	// again, with pauses that grow to a minute.
	//
	// Ready: False
	// Event: Warning, on the claim and the pods that use it.
	// Remedy: the message says what was done to which object, and what the API server said.
	// Mend that, such as a missing Secret to copy or an admission webhook that refuses.
	ReasonProvisioningFailed = "ProvisioningFailed"
	// ReasonInvalidParameters means that parameters of the class or the claim are invalid,
	// or ask for what the class or the installation does not allow. The scheduler copies
	// them when it allocates, so this is final for the allocation.
	//
	// Ready: False
	// Event: Warning, on the claim and the pods that use it.
	// Remedy: change the field that the message names, in the claim, its DeviceClass or the
	// installation's values, and recreate claim and pod.
	ReasonInvalidParameters = "InvalidParameters"
	// ReasonNameConflict means that a namespace with the space's name exists and is not ours.
	// It is neither used nor deleted.
	//
	// Ready: False
	// Event: Warning, on the claim and the pods that use it.
	// Remedy: find out who made the namespace that the message names, and remove it or make
	// the claim anew, which gives another name.
	ReasonNameConflict = "NameConflict"
	// ReasonNamespaceTerminating means that somebody deleted the namespace although the
	// claim is still allocated, or that an earlier use of the same device left it. A new one
	// is made as soon as it has gone.
	//
	// Ready: False
	// Event: Warning, on the claim and the pods that use it.
	// Remedy: wait. When it lasts, `kubectl describe namespace` says what keeps it.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonExpired means that the space outlived the maximum lifetime of its class, and was
	// ended although the claim is still allocated. This is final for the allocation.
	//
	// Ready: False
	// Event: Warning, on the claim and the pods that use it.
	// Remedy: make pod and claim anew for a new space. A longer `maxLifetime` is the
	// administrator's to give.
	ReasonExpired = "Expired"
)

// Reasons of events that are not also reasons of the condition.
const (
	// ReasonRepaired means that a part of a space in use had been deleted or changed and was
	// made again.
	//
	// Event: Warning, on the claim.
	// Remedy: find out who does that, and whether something of the tenant's has gone with it.
	ReasonRepaired = "Repaired"
	// ReasonDeleted means that the claim was deallocated, or its lifetime over, and that its
	// space was revoked and the deletion of the namespace has begun.
	//
	// Event: Normal, on the claim.
	// Remedy: nothing to do.
	ReasonDeleted = "Deleted"
	// ReasonDeletionFailed means that a space could not be revoked or deleted. It is tried
	// again, with pauses that grow to a minute.
	//
	// Event: Warning, on the claim and the namespace.
	// Remedy: the message says what was done to which object, and what the API server said.
	// Until it is mended, credentials of the space may work.
	ReasonDeletionFailed = "DeletionFailed"
	// ReasonRetained means that the claim was deallocated and the credentials were revoked.
	// The namespace stays for a while, as its class wants.
	//
	// Event: Normal, on the claim and the namespace.
	// Remedy: nothing to do. The message says until when. Whoever needs it no longer may
	// delete the namespace.
	ReasonRetained = "Retained"
	// ReasonStuckTerminating means that a deleted namespace does not go. The message has the
	// reason that the namespace's own conditions give. It is said again from time to time,
	// and when the reason changes. The credentials are dead all the same.
	//
	// Event: Warning, on the claim and the namespace.
	// Remedy: do what the finalizers that the message names wait for, or remove them.
	ReasonStuckTerminating = "StuckTerminating"
	// ReasonRenewalFailing means that a node has tried in vain for a minute or longer to renew
	// the claim's tokens. It is said again every ten minutes.
	//
	// Event: Warning, on the claim.
	// Remedy: the message names the node and what the API server said. Mend it before the
	// tokens end, which is a third of their lifetime after the first failure.
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

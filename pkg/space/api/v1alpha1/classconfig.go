// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SpaceClassConfigKind is the kind of [SpaceClassConfig].
const SpaceClassConfigKind = "SpaceClassConfig"

// SpaceClassConfig is what an administrator says about spaces in a DeviceClass,
// as opaque parameters for the driver. Unknown fields are refused.
type SpaceClassConfig struct {
	metav1.TypeMeta `json:",inline"`

	// MaxLifetime is how long a space may exist, counted from the allocation of
	// its claim, as a duration such as 8h. When it is over, the space is ended
	// although the claim is still allocated: its credentials are revoked, the
	// namespace is deleted, the condition Ready is False with reason Expired. The
	// spaces of one claim end together, at the shortest of their lifetimes.
	// Absent: without a limit.
	MaxLifetime *metav1.Duration `json:"maxLifetime,omitempty"`

	// Retain is how long the namespace is kept after the claim was deallocated or
	// the space expired, with its credentials revoked, for somebody to look into,
	// as a duration such as 30m. What runs in it goes on meanwhile. Absent: the
	// namespace is deleted at once.
	Retain *metav1.Duration `json:"retain,omitempty"`
}

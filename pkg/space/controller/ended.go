// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
)

// endCause returns why the space in a stale namespace ends, for users who expected it to stay. live
// is the claim of that name, and desired what it is to have.
func (r *Reconciler) endCause(ns *corev1.Namespace, live *resourceapi.ResourceClaim, desired *desiredClaim) string {
	switch {
	case desired != nil && desired.Owns(ns, r.keys):
		return "Maximum lifetime of the space reached"
	case live == nil || live.DeletionTimestamp != nil:
		return "Claim deleted"
	case string(live.UID) != ns.Labels[r.keys.ClaimUID]:
		return "Claim deleted, and another one of the same name created"
	case desired == nil:
		return "Claim deallocated, because no pod uses it any more (another pod that uses the claim would keep the space)"
	default:
		return "Claim deallocated, and then allocated again (another pod that uses the claim all the time would keep the space)"
	}
}

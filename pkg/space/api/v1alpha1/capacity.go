// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import corev1 "k8s.io/api/core/v1"

// PoolAttribute is the attribute of each device that says which configured pool
// it belongs to, so that the selectors of a DeviceClass can choose a pool. It is
// in the driver's own domain, as are all attributes that pools are given.
const PoolAttribute = "pool"

// SpacesCapacity is the capacity that limits how many spaces a pool has. Each space
// consumes one of it.
const SpacesCapacity = "spaces"

// QuotaResource returns what the capacity of a pool's budget is called in the
// ResourceQuota of a space that consumes it. The names differ because a
// capacity's name is an identifier, without dots and dashes. It is empty for any
// other capacity.
func QuotaResource(capacity string) corev1.ResourceName {
	switch capacity {
	case "cpu":
		return corev1.ResourceRequestsCPU
	case "memory":
		return corev1.ResourceRequestsMemory
	case "ephemeral_storage":
		return corev1.ResourceRequestsEphemeralStorage
	case "limits_cpu":
		return corev1.ResourceLimitsCPU
	case "limits_memory":
		return corev1.ResourceLimitsMemory
	case "limits_ephemeral_storage":
		return corev1.ResourceLimitsEphemeralStorage
	case "storage":
		return corev1.ResourceRequestsStorage
	case "pods", "persistentvolumeclaims", "services", "configmaps", "secrets":
		return corev1.ResourceName(capacity)
	default:
		return ""
	}
}

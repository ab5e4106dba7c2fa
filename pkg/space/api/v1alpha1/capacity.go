// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// PoolAttribute is the device attribute whose value is the pool's name in the configuration, so
// that the selectors of a DeviceClass can choose a pool. Like all attributes of pools, it is in the
// driver's own domain.
const PoolAttribute = "pool"

// SpacesCapacity is the capacity that limits the number of spaces in a pool. Each space
// consumes one of it.
const SpacesCapacity = "spaces"

// quotaResources are the resources of a ResourceQuota by the capacities of a pool's budget.
// The names differ because a capacity's name is an identifier, without dots and dashes.
var quotaResources = map[string]corev1.ResourceName{
	"cpu":                      corev1.ResourceRequestsCPU,
	"memory":                   corev1.ResourceRequestsMemory,
	"ephemeral_storage":        corev1.ResourceRequestsEphemeralStorage,
	"limits_cpu":               corev1.ResourceLimitsCPU,
	"limits_memory":            corev1.ResourceLimitsMemory,
	"limits_ephemeral_storage": corev1.ResourceLimitsEphemeralStorage,
	"storage":                  corev1.ResourceRequestsStorage,
	"pods":                     corev1.ResourcePods,
	"persistentvolumeclaims":   corev1.ResourcePersistentVolumeClaims,
	"services":                 corev1.ResourceServices,
	"configmaps":               corev1.ResourceConfigMaps,
	"secrets":                  corev1.ResourceSecrets,
}

// BudgetCapacities returns the capacities that the budget of a pool can have.
func BudgetCapacities() []string { return slices.Sorted(maps.Keys(quotaResources)) }

// QuotaResource returns the resource that a capacity of a pool's budget limits in the
// ResourceQuota of a space, or "" for any other capacity.
func QuotaResource(capacity string) corev1.ResourceName { return quotaResources[capacity] }

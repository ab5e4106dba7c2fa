// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The API server refuses a ResourceQuota or a LimitRange that breaks the rules
// here, in k8s.io/kubernetes/pkg/apis/core/validation. They are repeated because a
// space that can be known to fail is refused at once.

// counted are what a quota counts without fractions.
func counted() []corev1.ResourceName {
	return []corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceQuotas,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	}
}

// measured are what a quota measures.
func measured() []corev1.ResourceName {
	return []corev1.ResourceName{
		corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	}
}

// inContainers are what a container can ask for, of Kubernetes' own resources.
func inContainers() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
}

const notKnown = "must be a resource that Kubernetes knows here, or have a domain"

// knownIn is a rule for names of resources: one of Kubernetes' own, by name or
// prefix, or one of another domain.
func knownIn(known []corev1.ResourceName, prefixes ...string) rule {
	var names []string
	for _, name := range known {
		names = append(names, string(name))
	}
	return invalidIf(
		func(name string) bool {
			return !strings.Contains(name, "/") && !slices.Contains(names, name) &&
				!slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		},
		func(name string) string {
			return fmt.Sprintf("!%[1]s.contains('/') && !(%[1]s in %[2]s) && !%[3]s.exists(s, %[1]s.startsWith(s))", name, celList(names), celList(prefixes))
		}, notKnown)
}

// quota is about the field hard of a ResourceQuota.
func quota(reserved ...rule) entries {
	return entries{
		keys:     append(keyRules("a resource's name"), knownIn(slices.Concat(counted(), measured()), corev1.ResourceHugePagesPrefix, corev1.ResourceRequestsHugePagesPrefix)),
		reserved: reserved,
		value: func(name string) check {
			return newQuantity(invalidIf(
				func(word string) bool { return isCounted(name) && !whole.MatchString(word) },
				func(word string) string {
					return fmt.Sprintf("%s && !%s.matches(%s)", celCounted("k"), word, celString(whole.String()))
				}, "must be an integer"))
		},
	}
}

// isCounted says that there are no fractions of a resource: of Kubernetes' objects,
// and of what other domains define.
func isCounted(name string) bool {
	return slices.Contains(counted(), corev1.ResourceName(name)) || !isNative(name) && !strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix)
}

// celCounted is [isCounted].
func celCounted(name string) string {
	var names []string
	for _, c := range counted() {
		names = append(names, string(c))
	}
	return fmt.Sprintf("(%[1]s in %[2]s || !%[3]s && !%[1]s.startsWith(%[4]s))", name, celList(names), celNative(name), celString(corev1.DefaultResourceRequestsPrefix))
}

func isNative(name string) bool {
	return !strings.Contains(name, "/") || strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
}

// celNative is [isNative].
func celNative(name string) string {
	return fmt.Sprintf("(!%[1]s.contains('/') || %[1]s.contains(%[2]s))", name, celString(corev1.ResourceDefaultNamespacePrefix))
}

// countsNoSpaces is a rule that a claim does not limit what the driver itself
// limits, to keep pods in the space from asking for spaces.
func countsNoSpaces(driver string) rule {
	implicit, extended := corev1.ResourceImplicitExtendedClaimsPerClass, corev1.DefaultResourceRequestsPrefix+driver+"/"
	return forbidden(invalidIf(
		func(name string) bool {
			return strings.HasSuffix(name, corev1.ResourceClaimsPerClass) || strings.HasPrefix(name, implicit) || strings.HasPrefix(name, extended)
		},
		func(name string) string {
			return fmt.Sprintf("(%[1]s.endsWith(%[2]s) || %[1]s.startsWith(%[3]s) || %[1]s.startsWith(%[4]s))", name, celString(corev1.ResourceClaimsPerClass), celString(implicit), celString(extended))
		}, "how many spaces there can be in a space is the class's to say"))
}

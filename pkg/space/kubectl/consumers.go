// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxNamed is how many objects of a kind an explanation names.
const maxNamed = 3

// usedBy returns a sentence about what uses the pools that a pod waits for, or nothing.
func usedBy(consumers []string, pod *corev1.Pod) string {
	slices.Sort(consumers)
	consumers = slices.Compact(consumers)
	sameNamespace := slices.ContainsFunc(consumers, func(consumer string) bool { return strings.HasPrefix(consumer, "pod "+pod.Namespace+"/") })
	if n := len(consumers) - maxNamed; n > 0 {
		consumers = append(consumers[:maxNamed], fmt.Sprintf("%d more", n))
	}
	switch {
	case len(consumers) == 0:
		return ""
	case sameNamespace:
		return fmt.Sprintf(" In use by %s.%s", strings.Join(consumers, ", "), strategyHint(pod))
	}
	return fmt.Sprintf(" In use by %s.", strings.Join(consumers, ", "))
}

// strategyHint returns a sentence for a pod that may wait for another pod of its Deployment, or
// nothing. With the default strategy, the other pod runs until this one is ready.
func strategyHint(pod *corev1.Pod) string {
	if owner := metav1.GetControllerOf(pod); owner == nil || owner.Kind != "ReplicaSet" {
		return ""
	}
	return " If that is a pod of the same Deployment, give the Deployment the strategy Recreate, or RollingUpdate with maxSurge 0."
}

// consumersOf returns the pods and other objects that use a claim, or the claim if there are none.
func consumersOf(claim *resourceapi.ResourceClaim) []string {
	var consumers []string
	for _, consumer := range claim.Status.ReservedFor {
		kind := schema.GroupResource{Group: consumer.APIGroup, Resource: consumer.Resource}.String()
		if kind == "pods" {
			kind = "pod"
		}
		consumers = append(consumers, fmt.Sprintf("%s %s/%s", kind, claim.Namespace, consumer.Name))
	}
	if len(consumers) == 0 {
		consumers = append(consumers, fmt.Sprintf("ResourceClaim %s/%s", claim.Namespace, claim.Name))
	}
	return consumers
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// advice is what to do about each condition of a namespace that is stuck terminating.
var advice = map[corev1.NamespaceConditionType]string{
	corev1.NamespaceDeletionDiscoveryFailure: "Fix or delete the APIServices that are not available.",
	corev1.NamespaceDeletionGVParsingFailure: "Fix or delete the APIServices that are not available.",
	corev1.NamespaceDeletionContentFailure:   "Fix what prevents the deletion, such as a webhook, a policy, or a node that does not respond.",
	corev1.NamespaceFinalizersRemaining:      "Find the component that has to remove these finalizers. If it ran in the space, it has no permissions any more. Remove a finalizer yourself only if no component does.",
}

// deletionAdvice returns sentences about the pods in a namespace that is stuck terminating, and
// about what to do.
func (s *snapshot) deletionAdvice(space string) string {
	text := ""
	pods := slices.DeleteFunc(slices.Clone(s.pods), func(pod corev1.Pod) bool { return pod.Namespace != space })
	for _, pod := range pods[:min(len(pods), maxNamed)] {
		switch end := pod.DeletionTimestamp; {
		case end != nil && end.After(s.now):
			text += fmt.Sprintf(" Pod %s has a termination grace period until %s.", pod.Name, end.UTC().Format(time.RFC3339))
		case len(pod.Finalizers) > 0:
			text += fmt.Sprintf(" Pod %s has finalizers: %s.", pod.Name, strings.Join(pod.Finalizers, ", "))
		case end != nil:
			text += fmt.Sprintf(" The termination grace period of pod %s has ended: check its node %s, and if it no longer exists, delete the pod with --force.", pod.Name, pod.Spec.NodeName)
		}
	}
	if n := len(pods) - maxNamed; n > 0 {
		text += fmt.Sprintf(" There are %d more pods.", n)
	}
	ns := find(s.namespaces, func(ns *corev1.Namespace) bool { return ns.Name == space })
	for _, condition := range ns.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && advice[condition.Type] != "" {
			text += " " + advice[condition.Type]
		}
	}
	if len(ns.Finalizers) > 0 {
		text += " If no component removes the finalizers of the Namespace, remove them yourself: kubectl edit namespace " + space + "."
	}
	return text
}

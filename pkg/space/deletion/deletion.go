// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deletion explains why the namespace of a space that is being deleted still exists.
package deletion

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Causes returns clauses about what the deletion of a namespace waits for. There are none if
// Kubernetes is about to remove the namespace.
//
// Kubernetes deletes pods first, and has no condition for those that remain. It then deletes
// everything else, removes its own finalizer from the spec, and waits for those in the metadata
// (k8s.io/kubernetes, pkg/controller/namespace/deletion).
func Causes(ns *corev1.Namespace, keys spaceapi.Keys, now time.Time) []string {
	var causes []string
	for _, condition := range ns.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			causes = append(causes, strings.TrimRight(strings.TrimSpace(condition.Message), "."))
		}
	}
	if len(causes) == 0 && ns.DeletionTimestamp != nil && slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		causes = append(causes, podsCause(ns, keys, now))
	}
	if len(ns.Finalizers) > 0 {
		causes = append(causes, "the metadata of the Namespace has the finalizers "+strings.Join(ns.Finalizers, ", ")+", which the components that set them must remove")
	}
	return causes
}

// podsCause returns the clause about pods that remain. It does not read them.
func podsCause(ns *corev1.Namespace, keys spaceapi.Keys, now time.Time) string {
	const first = "Kubernetes first deletes its pods, "
	seconds, err := strconv.ParseInt(ns.Annotations[keys.MaxTerminationGracePeriod], 10, 64)
	if end := ns.DeletionTimestamp.Add(time.Duration(seconds) * time.Second); err == nil && now.Before(end) {
		return first + fmt.Sprintf("whose termination grace periods can last until %s", end.UTC().Format(time.RFC3339))
	}
	return first + "which have finalizers, a grace period that has not ended, or a node that does not respond"
}

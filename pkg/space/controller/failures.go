// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
)

// consumers are what a claim was reserved for when it was last reconciled.
type consumers struct {
	allocationID string
	reservedFor  []resourceapi.ResourceClaimConsumerReference
}

// recordFailures records on the namespaces of a claim that a pod failed, if they are retained only
// then. It reads each pod once: when the claim is no longer reserved for it, which
// kube-controller-manager ensures as soon as a pod is Failed or Succeeded (k8s.io/kubernetes,
// pkg/controller/resourceclaim). It also sets the annotation of the passed namespaces, so that a
// failed write does not affect this reconcile. desired may be nil.
func (r *Reconciler) recordFailures(ctx context.Context, key types.NamespacedName, desired *desiredClaim, namespaces []corev1.Namespace) error {
	value, _ := r.consumers.Get(key)
	before, _ := value.(consumers)
	var now consumers
	if desired != nil && slices.ContainsFunc(desired.spaces, func(s *desiredSpace) bool { return s.config.RetentionWhen == spaceapi.RetainOnFailure }) {
		now = consumers{desired.ID, desired.claim.Status.ReservedFor}
	}
	failedPod := sync.OnceValues(func() (string, error) { return r.failedPod(ctx, key.Namespace, before, now) })
	var errs []error
	for i := range namespaces {
		ns := &namespaces[i]
		if ns.Labels[r.keys.AllocationID] != before.allocationID || !r.waitsForFailure(ns) {
			continue
		}
		pod, err := failedPod()
		if err == nil && pod != "" {
			namespaces[i] = *ns.DeepCopy() // The other one is in the cache.
			namespaces[i].Annotations[r.keys.FailedPod] = pod
			if err = r.annotate(ctx, ns, map[string]any{r.keys.FailedPod: pod}); spaceclient.IgnoreNotFound(err) != nil {
				err = fmt.Errorf("record on namespace %s that pod %s failed: %w", ns.Name, pod, err)
			}
		}
		errs = append(errs, spaceclient.IgnoreNotFound(err))
	}
	err := errors.Join(errs...)
	switch {
	case err != nil: // The next reconcile reads the pods again.
	case now.allocationID == "":
		r.consumers.Remove(key)
	default:
		r.consumers.Add(key, now)
	}
	return err
}

// failedPod returns the name of a pod that a claim was reserved for before, is not any more, and that
// failed. A pod that was deleted did not fail: its containers usually exit with an error when they are
// terminated.
func (r *Reconciler) failedPod(ctx context.Context, namespace string, before, now consumers) (string, error) {
	for _, consumer := range before.reservedFor {
		stays := func(c resourceapi.ResourceClaimConsumerReference) bool { return c.UID == consumer.UID }
		if !isPod(consumer) || before.allocationID == now.allocationID && slices.ContainsFunc(now.reservedFor, stays) {
			continue
		}
		pod := &corev1.Pod{}
		err := r.client.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: consumer.Name}, pod)
		if spaceclient.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("read whether pod %s/%s failed: %w", namespace, consumer.Name, err)
		}
		if err == nil && pod.UID == consumer.UID && pod.Status.Phase == corev1.PodFailed && pod.DeletionTimestamp == nil {
			return pod.Name, nil
		}
	}
	return "", nil
}

// waitsForFailure reports whether a namespace is retained only if a pod fails, and none has failed yet.
func (r *Reconciler) waitsForFailure(ns *corev1.Namespace) bool {
	return ns.DeletionTimestamp == nil && r.retainedUntil(ns).IsZero() && ns.Annotations[r.keys.FailedPod] == "" &&
		r.recordedConfig(ns).RetentionWhen == spaceapi.RetainOnFailure
}

// retentionOf returns for how long to retain the namespace of a space, and a clause that explains that.
func (r *Reconciler) retentionOf(ns *corev1.Namespace) (period time.Duration, because string) {
	config := r.recordedConfig(ns)
	if config.RetentionWhen != spaceapi.RetainOnFailure {
		return config.Retention.Duration, ""
	}
	if pod := ns.Annotations[r.keys.FailedPod]; pod != "" {
		return config.Retention.Duration, fmt.Sprintf(", because pod %s failed", pod)
	}
	return 0, ", because no pod is known to have failed"
}

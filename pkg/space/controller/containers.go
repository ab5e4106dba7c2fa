// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
)

// consumerIndex is the name of the index of cached claims by the UIDs of what they are reserved for.
const consumerIndex = "consumer"

// indexByConsumer is the index function of consumerIndex.
func indexByConsumer(obj client.Object) []string {
	var out []string
	for _, consumer := range obj.(*resourceapi.ResourceClaim).Status.ReservedFor {
		out = append(out, string(consumer.UID))
	}
	return out
}

// checkContainers checks whether each container of the pods that use the claim can use its spaces
// together with those of other claims. If not, it returns the pod and a reasonError. Both claims have
// this error, so that it does not matter which of them is reconciled first. The exceptions are claims
// that are too large for the cache, which are not compared when another claim is reconciled. Any other
// error means that a pod could not be read. Usually, no pod has to be read.
func (r *Reconciler) checkContainers(ctx context.Context, desired *desiredClaim) (*corev1.Pod, error) {
	for _, consumer := range desired.claim.Status.ReservedFor {
		if !isPod(consumer) {
			continue
		}
		var claims resourceapi.ResourceClaimList
		if err := r.client.List(ctx, &claims, client.MatchingFields{consumerIndex: string(consumer.UID)}, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list the claims of pod %s/%s in the cache: %w", desired.Claim.Namespace, consumer.Name, err)
		}
		slices.SortFunc(claims.Items, func(a, b resourceapi.ResourceClaim) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
		for i := range claims.Items {
			other := &claims.Items[i]
			if other.Namespace != desired.Claim.Namespace || other.UID == desired.ClaimUID {
				continue
			}
			a, edits := r.previewOf(other)
			if a == nil || containeredits.CheckClaims(desired.Claim.Name, desired.edits, other.Name, edits) == nil {
				continue
			}
			pod := &corev1.Pod{}
			err := r.client.APIReader.Get(ctx, client.ObjectKey{Namespace: desired.Claim.Namespace, Name: consumer.Name}, pod)
			if spaceclient.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("read pod %s/%s, which uses ResourceClaims %s and %s: %w", desired.Claim.Namespace, consumer.Name, desired.Claim.Name, other.Name, err)
			}
			for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				if err := containeredits.CheckClaims(desired.Claim.Name, usedEdits(pod, container, desired.Allocation, desired.edits),
					other.Name, usedEdits(pod, container, a, edits)); err != nil {
					return pod, &reasonError{spaceapi.ReasonInvalidParameters, fmt.Errorf("container %s of pod %s: %w", container.Name, pod.Name, err)}
				}
			}
		}
	}
	return nil, nil
}

// previewOf returns the allocation of a cached claim, and the edits of its spaces. Both are nil for a
// claim that gets no spaces, and for one that is too large for the cache: the author of many large
// claims could otherwise make the controller read each of them for each other claim of the pod.
func (r *Reconciler) previewOf(claim *resourceapi.ResourceClaim) (*allocation.Allocation, []containeredits.Edits) {
	a := allocation.FromClaim(claim, r.config.Defaults.Driver)
	if a == nil || allocation.IsTruncated(claim) {
		return nil, nil
	}
	var containerConfigs []spaceconfig.ContainerConfig
	for _, result := range a.Results {
		config, err := r.config.Defaults.Resolve(a, result)
		if err != nil {
			return nil, nil // its own reconcile reports it
		}
		containerConfigs = append(containerConfigs, config.ContainerConfig)
	}
	edits, err := containeredits.Preview(r.config.Defaults.Driver, a, containerConfigs)
	if err != nil {
		return nil, nil // its own reconcile reports it
	}
	return a, edits
}

// usedEdits returns those edits of a claim that a container of a pod uses.
func usedEdits(pod *corev1.Pod, container corev1.Container, a *allocation.Allocation, edits []containeredits.Edits) []containeredits.Edits {
	var used []containeredits.Edits
	named := false
	for i := range pod.Spec.ResourceClaims {
		podClaim := &pod.Spec.ResourceClaims[i]
		if name, _, err := resourceclaim.Name(pod, podClaim); err != nil || name == nil || *name != a.Claim.Name {
			continue
		}
		named = true
		for _, use := range container.Resources.Claims {
			for i, result := range a.Results {
				if use.Name == podClaim.Name && (use.Request == "" || use.Request == resourceclaim.BaseRequestRef(result.Request)) {
					used = append(used, edits[i])
				}
			}
		}
	}
	if !named {
		// The scheduler created the claim for extended resources. It writes to the pod's status later
		// which containers use the claim.
		return edits
	}
	return used
}

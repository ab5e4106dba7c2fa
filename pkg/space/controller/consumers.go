// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
)

const (
	// The scheduler binds a pod some milliseconds after it has reserved the claim for it. To
	// watch for that, the controller would need permission to watch all pods. It therefore reads
	// the pod up to maxPodReads times, first after firstPodRead and then after delays that double.
	firstPodRead = 5 * time.Millisecond
	maxPodReads  = 6
	// If the pod is not bound then, a later reconcile reads it again, after delays that double.
	firstReread = 250 * time.Millisecond
	lastReread  = 2 * time.Second
)

// podNode is the result of reading a pod.
type podNode struct {
	// node is empty for a pod that no longer exists, or is not bound.
	node string
	// reads is how often the pod was read and not bound.
	reads int
}

func isPod(consumer resourceapi.ResourceClaimConsumerReference) bool {
	return consumer.APIGroup == "" && consumer.Resource == "pods"
}

// checkConsumers returns an error if a claim is reserved for objects other than pods. The controller
// does not know the pods of such an object, so that their nodes would get no tokens.
func checkConsumers(claim *resourceapi.ResourceClaim) error {
	var names []string
	for _, consumer := range claim.Status.ReservedFor {
		if !isPod(consumer) {
			names = append(names, fmt.Sprintf("%s %s", schema.GroupResource{Group: consumer.APIGroup, Resource: consumer.Resource}, consumer.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("the claim is reserved for %s, and only pods for which a claim itself is reserved can use its space", strings.Join(names, ", "))
}

// recordNodes writes the nodes of the pods that the claim is reserved for to the annotations of its
// namespaces, for the admission policy that allows tokens for these nodes only. It returns the
// delay until the next time, zero for never.
func (r *Reconciler) recordNodes(ctx context.Context, desired *desiredClaim) (time.Duration, error) {
	if err := checkConsumers(desired.claim); err != nil {
		r.events.Event(desired.claim, corev1.EventTypeWarning, spaceapi.ReasonUnsupportedConsumer, err.Error())
	}
	nodes, after, err := r.nodesOf(ctx, desired)
	errs := []error{err}
	for _, space := range desired.spaces {
		ns := space.namespace
		if ns == nil || ns.DeletionTimestamp != nil || sameNodes(nodes, r.recordedNodes(ns)) {
			continue
		}
		var value any // nil removes the annotation
		if len(nodes) > 0 {
			value = formatNodes(nodes)
		}
		if err := r.annotate(ctx, ns, map[string]any{r.keys.Nodes: value}); spaceclient.IgnoreNotFound(err) != nil {
			err = fmt.Errorf("set the node annotation of namespace %s: %w", ns.Name, err)
			r.warnClaimAndPods(desired, spaceapi.ReasonNodesNotRecorded, err.Error())
			errs = append(errs, err)
		}
	}
	return after, errors.Join(errs...)
}

// nodesOf returns the nodes of the pods that are bound, by the pods' UIDs, and the delay until the
// other pods are read again, zero for never. It reads only pods whose node is neither recorded on a
// namespace nor in podNodes. If it cannot read a pod, it also returns all recorded nodes.
func (r *Reconciler) nodesOf(ctx context.Context, desired *desiredClaim) (map[types.UID]string, time.Duration, error) {
	recorded := map[types.UID]string{}
	for _, space := range desired.spaces {
		if ns := space.namespace; ns != nil {
			maps.Copy(recorded, r.recordedNodes(ns))
		}
	}
	// With binding conditions, pods are bound only when the space is ready.
	boundLater := desired.hasBindingConditions()
	nodes := map[types.UID]string{}
	var unbound []resourceapi.ResourceClaimConsumerReference
	reads := map[types.UID]int{}
	steps := 1
	for _, consumer := range desired.claim.Status.ReservedFor {
		value, _ := r.podNodes.Get(consumer.UID)
		known, seen := value.(podNode)
		switch {
		case !isPod(consumer):
		case recorded[consumer.UID] != "":
			nodes[consumer.UID] = recorded[consumer.UID]
		case seen && known.reads == 0:
			nodes[consumer.UID] = known.node
		default:
			unbound, reads[consumer.UID] = append(unbound, consumer), known.reads
			if !seen && !boundLater {
				steps = maxPodReads
			}
		}
	}
	var errs []error
	backoff := wait.Backoff{Duration: firstPodRead, Factor: 2, Steps: steps}
	_ = wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		unbound = slices.DeleteFunc(unbound, func(consumer resourceapi.ResourceClaimConsumerReference) bool {
			pod := &corev1.Pod{}
			err := r.client.APIReader.Get(ctx, client.ObjectKey{Namespace: desired.Claim.Namespace, Name: consumer.Name}, pod)
			switch {
			case spaceclient.IgnoreNotFound(err) != nil:
				errs = append(errs, fmt.Errorf("read the node of pod %s/%s, which uses ResourceClaim %s: %w", desired.Claim.Namespace, consumer.Name, desired.Claim.Name, err))
				return true
			case err != nil, pod.UID != consumer.UID:
				pod.Spec.NodeName = "" // It no longer exists.
			case pod.Spec.NodeName == "":
				return false
			}
			nodes[consumer.UID] = pod.Spec.NodeName
			r.podNodes.Add(consumer.UID, podNode{node: pod.Spec.NodeName})
			return true
		})
		return len(unbound) == 0, nil
	})
	var after time.Duration
	for _, consumer := range unbound {
		after = soonest(after, min(firstReread<<min(reads[consumer.UID], 8), lastReread))
		r.podNodes.Add(consumer.UID, podNode{reads: reads[consumer.UID] + 1})
	}
	maps.DeleteFunc(nodes, func(_ types.UID, node string) bool { return node == "" })
	if len(errs) > 0 { // A pod that cannot be read may be on a node that is recorded for another one.
		maps.Copy(nodes, recorded)
	}
	return nodes, after, errors.Join(errs...)
}

// recordedNodes returns the nodes in the annotation of a namespace by the UIDs of pods. The
// annotation has at least one of the pods on each node.
func (r *Reconciler) recordedNodes(ns *corev1.Namespace) map[types.UID]string {
	nodes := map[types.UID]string{}
	for entry := range strings.SplitSeq(ns.Annotations[r.keys.Nodes], ",") {
		if node, pod, ok := strings.Cut(entry, "="); ok {
			nodes[types.UID(pod)] = node
		}
	}
	return nodes
}

// formatNodes is the reverse of recordedNodes. A claim has at most 256 consumers, so that the
// annotation stays small.
func formatNodes(nodes map[types.UID]string) string {
	var entries []string
	for pod, node := range nodes {
		entries = append(entries, node+"="+string(pod))
	}
	slices.Sort(entries)
	return strings.Join(entries, ",")
}

// sameNodes reports whether two annotations have the same nodes.
func sameNodes(a, b map[types.UID]string) bool {
	return sets.New(slices.Collect(maps.Values(a))...).Equal(sets.New(slices.Collect(maps.Values(b))...))
}

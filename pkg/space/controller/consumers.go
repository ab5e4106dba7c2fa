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
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

const (
	// The scheduler binds a pod some milliseconds after it has reserved the claim for it.
	// There is nothing to watch for it without permission to watch all pods.
	firstPodRead = 5 * time.Millisecond
	podReads     = 6
	// A pod that is still not bound then is read again after the first delay, and then
	// after ever longer ones.
	firstReread = 250 * time.Millisecond
	lastReread  = 2 * time.Second
)

// consumers are the pods that a claim is reserved for. Their nodes are recorded on its
// spaces, for the admission policy that lets only those nodes have tokens.
type consumers struct {
	r     *Reconciler
	pods  []resourceapi.ResourceClaimConsumerReference
	claim types.NamespacedName
	// nodes returns the nodes by the UIDs of pods that are bound. It is computed once.
	nodes func() map[types.UID]string

	mutex sync.Mutex
	after time.Duration
	errs  []error
}

// podNode is the result of reading a pod.
type podNode struct {
	// node is empty for a pod that no longer exists, or is not bound.
	node string
	// reads is how often the pod was read and not bound.
	reads int
}

// newConsumers returns the consumers of the claim. Nothing is read before nodes is called.
func (r *Reconciler) newConsumers(ctx context.Context, claim *resourceapi.ResourceClaim, desired *desiredState) *consumers {
	c := &consumers{r: r, claim: desired.allocation.Claim}
	for _, consumer := range claim.Status.ReservedFor {
		if isPod(consumer) {
			c.pods = append(c.pods, consumer)
		}
	}
	c.nodes = sync.OnceValue(func() map[types.UID]string { return c.resolve(ctx, desired) })
	return c
}

func isPod(consumer resourceapi.ResourceClaimConsumerReference) bool {
	return consumer.APIGroup == "" && consumer.Resource == "pods"
}

// result returns when to reconcile again, zero for never, and what failed: no failure keeps a
// space from becoming ready.
func (c *consumers) result() (time.Duration, error) { return c.after, errors.Join(c.errs...) }

// syncConsumers records the nodes on spaces that are otherwise left as they are.
func (r *Reconciler) syncConsumers(ctx context.Context, claim *resourceapi.ResourceClaim, desired *desiredState) (time.Duration, error) {
	c := r.newConsumers(ctx, claim, desired)
	for _, space := range desired.spaces {
		if space.existing != nil && space.existing.DeletionTimestamp == nil {
			c.recordNodes(ctx, space.existing)
		}
	}
	return c.result()
}

// recordNodes writes the nodes to the annotation of a space's namespace if it has others.
func (c *consumers) recordNodes(ctx context.Context, ns *corev1.Namespace) {
	nodes := c.nodes()
	if sameNodes(nodes, parseNodes(c.r.recordedNodes(ns))) {
		return
	}
	var value any // nil removes the annotation
	if len(nodes) > 0 {
		value = formatNodes(nodes)
	}
	// Other steps use the namespace at the same time.
	if err := c.r.annotate(ctx, ns.DeepCopy(), map[string]any{c.r.keys.Nodes: value}); err != nil {
		if !apierrors.IsNotFound(err) {
			c.fail(fmt.Errorf("set the node annotation of namespace %s: %w", ns.Name, err))
		}
		return
	}
	c.r.nodesWritten.Add(ns.UID, formatNodes(nodes), cachesLag)
}

// recordedNodes returns the recorded nodes of a namespace: as they were written or, when the
// cache has caught up with that, from the cache.
func (r *Reconciler) recordedNodes(ns *corev1.Namespace) string {
	if written, recently := r.nodesWritten.Get(ns.UID); recently {
		return written.(string)
	}
	return ns.Annotations[r.keys.Nodes]
}

// resolve returns the nodes of the pods that are bound: those that are recorded or remembered,
// and else those in the API server.
func (c *consumers) resolve(ctx context.Context, desired *desiredState) map[types.UID]string {
	recorded := map[types.UID]string{}
	for _, space := range desired.spaces {
		if space.existing != nil {
			maps.Copy(recorded, parseNodes(c.r.recordedNodes(space.existing)))
		}
	}
	// Where the scheduler waits for the space, pods are bound only when it is ready.
	boundLater := slices.ContainsFunc(desired.allocation.Results, func(s allocation.Result) bool { return len(s.BindingConditions) > 0 })
	nodes := map[types.UID]string{}
	var unbound []resourceapi.ResourceClaimConsumerReference
	steps := 1
	for _, pod := range c.pods {
		known, seen := c.r.podNode(pod.UID)
		if node := recorded[pod.UID]; node != "" {
			nodes[pod.UID] = node
		} else if seen && known.reads == 0 {
			if known.node != "" {
				nodes[pod.UID] = known.node
			}
		} else {
			unbound = append(unbound, pod)
			if !seen && !boundLater {
				steps = podReads
			}
		}
	}
	backoff := wait.Backoff{Duration: firstPodRead, Factor: 2, Steps: steps}
	_ = wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		unbound = slices.DeleteFunc(unbound, func(pod resourceapi.ResourceClaimConsumerReference) bool {
			node, known, err := c.nodeOf(ctx, pod)
			if err != nil {
				c.fail(err)
				return true
			}
			if known {
				c.r.podNodes.Add(pod.UID, podNode{node: node})
			}
			if node != "" {
				nodes[pod.UID] = node
			}
			return known
		})
		return len(unbound) == 0, nil
	})
	for _, pod := range unbound {
		known, _ := c.r.podNode(pod.UID)
		known.reads++
		c.r.podNodes.Add(pod.UID, known)
		c.after = soonest(c.after, min(firstReread<<min(known.reads-1, 8), lastReread))
	}
	return nodes
}

// podNode returns the result of reading a pod, if it was read.
func (r *Reconciler) podNode(pod types.UID) (podNode, bool) {
	value, _ := r.podNodes.Get(pod)
	known, exists := value.(podNode)
	return known, exists
}

// nodeOf reads which node a pod was bound to. It is known, and empty, for a pod that no
// longer exists, and not known for one that is not bound yet.
func (c *consumers) nodeOf(ctx context.Context, consumer resourceapi.ResourceClaimConsumerReference) (node string, known bool, err error) {
	pod := &corev1.Pod{}
	err = c.r.client.APIReader.Get(ctx, client.ObjectKey{Namespace: c.claim.Namespace, Name: consumer.Name}, pod)
	switch {
	case apierrors.IsNotFound(err), err == nil && pod.UID != consumer.UID:
		return "", true, nil
	case err != nil:
		return "", false, fmt.Errorf("read the node of pod %s/%s, which uses ResourceClaim %s: %w", c.claim.Namespace, consumer.Name, c.claim.Name, err)
	}
	return pod.Spec.NodeName, pod.Spec.NodeName != "", nil
}

func (c *consumers) fail(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.errs = append(c.errs, err)
}

// parseNodes returns the nodes in an annotation by the UIDs of pods. It has one of the pods on
// each node.
func parseNodes(annotation string) map[types.UID]string {
	nodes := map[types.UID]string{}
	for entry := range strings.SplitSeq(annotation, ",") {
		if node, pod, ok := strings.Cut(entry, "="); ok {
			nodes[types.UID(pod)] = node
		}
	}
	return nodes
}

// formatNodes is the reverse of parseNodes. A claim can have 256 consumers.
func formatNodes(nodes map[types.UID]string) string {
	var entries []string
	for pod, node := range nodes {
		entries = append(entries, node+"="+string(pod))
	}
	slices.Sort(entries)
	return strings.Join(entries, ",")
}

// sameNodes returns whether two annotations have the same nodes.
func sameNodes(a, b map[types.UID]string) bool {
	set := func(nodes map[types.UID]string) []string {
		return slices.Compact(slices.Sorted(maps.Values(nodes)))
	}
	return slices.Equal(set(a), set(b))
}

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
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

const (
	// The scheduler binds a pod some milliseconds after it has reserved the claim for it.
	// There is nothing to watch for it without the right to watch all pods.
	firstLook = 5 * time.Millisecond
	looks     = 6
	// A pod that is still not bound then is read again after the first delay, and then
	// after ever longer ones.
	firstLookAgain = 250 * time.Millisecond
	lastLookAgain  = 2 * time.Second
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

// podNode is what is known of a pod.
type podNode struct {
	// node is empty for a pod that no longer exists, or is not bound.
	node string
	// looks is how often the pod was not bound.
	looks int
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

// result returns when to look again, zero for never, and what failed: no failure keeps a
// space from becoming ready.
func (c *consumers) result() (time.Duration, error) { return c.after, errors.Join(c.errs...) }

// syncConsumers records the nodes on spaces that nothing else is done for.
func (r *Reconciler) syncConsumers(ctx context.Context, claim *resourceapi.ResourceClaim, desired *desiredState) (time.Duration, error) {
	c := r.newConsumers(ctx, claim, desired)
	for _, space := range desired.spaces {
		if space.existing != nil && space.existing.DeletionTimestamp == nil {
			c.record(ctx, space.existing)
		}
	}
	return c.result()
}

// record updates the record of a space's namespace if the nodes in it are others.
func (c *consumers) record(ctx context.Context, ns *corev1.Namespace) {
	nodes := c.nodes()
	if sameNodes(nodes, parseNodes(c.r.recordedNodes(ns))) {
		return
	}
	updated := ns.DeepCopy()
	var value any // nil removes the annotation
	if len(nodes) > 0 {
		value = formatNodes(nodes)
	}
	if err := c.r.annotate(ctx, updated, map[string]any{c.r.keys.Nodes: value}); err != nil {
		if !apierrors.IsNotFound(err) {
			c.fail(fmt.Errorf("record in namespace %s on which nodes its claim is used: %w", ns.Name, err))
		}
		return
	}
	c.r.consumersWritten.Add(ns.UID, writtenNodes{updated.ResourceVersion, updated.Annotations[c.r.keys.Nodes]}, cachesLag)
}

// writtenNodes is the record of a namespace as it was after it was written.
type writtenNodes struct{ resourceVersion, value string }

// recordedNodes returns the record of a namespace from the cache or, if that lags behind,
// as it was written.
func (r *Reconciler) recordedNodes(ns *corev1.Namespace) string {
	if value, known := r.consumersWritten.Get(ns.UID); known {
		written := value.(writtenNodes)
		if order, err := resourceversion.CompareResourceVersion(ns.ResourceVersion, written.resourceVersion); err == nil && order < 0 {
			return written.value
		}
	}
	return ns.Annotations[r.keys.Nodes]
}

// resolve returns the nodes of the pods that are bound: from what is known, or else from
// the API server.
func (c *consumers) resolve(ctx context.Context, desired *desiredState) map[types.UID]string {
	recorded := map[types.UID]string{}
	for _, space := range desired.spaces {
		if space.existing != nil {
			maps.Copy(recorded, parseNodes(c.r.recordedNodes(space.existing)))
		}
	}
	// Where the scheduler waits for the space, pods are bound only when it is ready.
	boundLater := slices.ContainsFunc(desired.allocation.Results, func(s allocation.Result) bool { return s.BindingConditions })
	nodes := map[types.UID]string{}
	var unbound []resourceapi.ResourceClaimConsumerReference
	steps := 1
	for _, pod := range c.pods {
		known, seen := c.r.podNode(pod.UID)
		if node := recorded[pod.UID]; node != "" {
			nodes[pod.UID] = node
		} else if seen && known.looks == 0 {
			if known.node != "" {
				nodes[pod.UID] = known.node
			}
		} else {
			unbound = append(unbound, pod)
			if !seen && !boundLater {
				steps = looks
			}
		}
	}
	backoff := wait.Backoff{Duration: firstLook, Factor: 2, Steps: steps}
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
		known.looks++
		c.r.podNodes.Add(pod.UID, known)
		c.after = soonest(c.after, min(firstLookAgain<<min(known.looks-1, 8), lastLookAgain))
	}
	return nodes
}

// podNode returns what is known of a pod, and whether anything is.
func (r *Reconciler) podNode(pod types.UID) (podNode, bool) {
	known, exists := r.podNodes.Get(pod)
	if !exists {
		return podNode{}, false
	}
	return known.(podNode), true
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
		return "", false, fmt.Errorf("read on which node pod %s/%s uses ResourceClaim %s: %w", c.claim.Namespace, consumer.Name, c.claim.Name, err)
	}
	return pod.Spec.NodeName, pod.Spec.NodeName != "", nil
}

func (c *consumers) fail(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.errs = append(c.errs, err)
}

// parseNodes returns the nodes in a record by the UIDs of pods. Of the pods on a node, one
// is in it.
func parseNodes(record string) map[types.UID]string {
	nodes := map[types.UID]string{}
	for entry := range strings.SplitSeq(record, ",") {
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

// sameNodes returns whether two records have the same nodes.
func sameNodes(a, b map[types.UID]string) bool {
	set := func(nodes map[types.UID]string) []string {
		return slices.Compact(slices.Sorted(maps.Values(nodes)))
	}
	return slices.Equal(set(a), set(b))
}

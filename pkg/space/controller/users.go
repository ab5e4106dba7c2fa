// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

const (
	// The scheduler binds a pod some milliseconds after it has written that the pod
	// uses the claim. There is nothing to watch for it without the right to watch all pods.
	firstLook = 5 * time.Millisecond
	looks     = 6
	// A pod that is still not bound then is looked at again after the first delay,
	// and then after ever longer ones.
	firstLookAgain = 250 * time.Millisecond
	lastLookAgain  = 2 * time.Second
	// namesDelay is for how long the names of pods on a space may be out of date.
	// Nobody decides by them, and many pods that come and go cost one write then.
	namesDelay = 10 * time.Second
)

// users are the pods that use a claim. On which nodes they are is noted on its
// spaces, for the admission policy that lets only those nodes have tokens.
type users struct {
	*Controller
	claim *resourceapi.ResourceClaim
	a     *identity.Allocation

	once sync.Once
	// nodes are those that the pods were bound to. It has an empty name for a pod
	// that has gone, and lacks one that is not bound.
	nodes map[types.UID]string
	// names are those of the pods that have not gone, with commas between them.
	names string

	mutex sync.Mutex
	errs  []error
}

// usersOf prepares to look for the pods. It happens when it is first needed.
func (c *Controller) usersOf(claim *resourceapi.ResourceClaim, a *identity.Allocation) *users {
	return &users{Controller: c, claim: claim, a: a}
}

// note brings the note on a space's namespace up to date, at once when the nodes are
// others, and some time later when only the pods are. What goes wrong is for settle
// to say: it keeps no space from becoming ready.
func (u *users) note(ctx context.Context, ns *corev1.Namespace) {
	u.once.Do(func() { u.look(ctx) })
	want := map[types.UID]string{}
	for pod, node := range u.nodes {
		if node != "" {
			want[pod] = node
		}
	}
	noted := u.places.latest(u.a.Claim, ns)
	if sameNodes(want, nodesOn(noted, u.keys.Nodes)) {
		if noted.Annotations[u.keys.Pods] == u.names {
			u.places.upToDate(u.a.Claim, ns.Name)
			return
		}
		if left := u.places.due(u.a.Claim, ns.Name, u.Clock.Now()); left > 0 {
			u.queue.AddAfter(u.a.Claim, left)
			return
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		// Another UID would be another namespace of the name.
		"uid":         ns.UID,
		"annotations": map[string]*string{u.keys.Nodes: orNone(sayNodes(want)), u.keys.Pods: orNone(u.names)},
	}})
	if err == nil {
		if noted, err = u.Client.CoreV1().Namespaces().Patch(ctx, ns.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err == nil {
			u.places.wrote(u.a.Claim, noted)
		}
	}
	if ignoreNotFound(err) != nil {
		u.fail(fmt.Errorf("note in namespace %s on which nodes its claim is used: %w", ns.Name, err))
	}
}

// look finds out where the pods are: from what is known, or else from the API server.
func (u *users) look(ctx context.Context) {
	noted := map[types.UID]string{}
	if recorded, err := u.recordedFor(u.a.Claim); err == nil {
		for _, ns := range recorded {
			if u.a.Owns(ns, u.keys) {
				maps.Copy(noted, nodesOn(ns, u.keys.Nodes))
			}
		}
	}
	known := u.places.of(u.a.Claim)
	maps.Copy(known, noted)
	u.nodes = map[types.UID]string{}
	var unknown []resourceapi.ResourceClaimConsumerReference
	for _, consumer := range u.claim.Status.ReservedFor {
		if !isPod(consumer) {
			continue
		}
		if node, is := known[consumer.UID]; is {
			u.nodes[consumer.UID] = node
		} else {
			unknown = append(unknown, consumer)
		}
	}
	backoff := wait.Backoff{Duration: firstLook, Factor: 2, Steps: looks}
	if u.places.waitsFor(u.a.Claim, unknown) || slices.ContainsFunc(u.a.Shares, func(s identity.Share) bool { return s.BindingConditions }) {
		// It will take longer than is worth waiting here.
		backoff.Steps = 1
	}
	err := wait.ExponentialBackoffWithContext(ctx, backoff, func(ctx context.Context) (bool, error) {
		unknown = slices.DeleteFunc(unknown, func(consumer resourceapi.ResourceClaimConsumerReference) bool {
			node, known, err := u.nodeOf(ctx, consumer)
			if err != nil {
				u.fail(err)
			}
			if known {
				u.nodes[consumer.UID] = node
			}
			return known || err != nil
		})
		return len(unknown) == 0, nil
	})
	if err != nil && ctx.Err() == nil {
		u.queue.AddAfter(u.a.Claim, u.places.again(u.a.Claim, unknown))
	}
	u.places.set(u.a.Claim, u.nodes, noted, unknown)
	var names []string
	for _, consumer := range u.claim.Status.ReservedFor {
		node, known := u.nodes[consumer.UID]
		if gone := known && node == ""; isPod(consumer) && !gone {
			names = append(names, consumer.Name)
		}
	}
	slices.Sort(names)
	u.names = strings.Join(names, ",")
}

func isPod(consumer resourceapi.ResourceClaimConsumerReference) bool {
	return consumer.APIGroup == "" && consumer.Resource == "pods"
}

// nodeOf reads which node a pod was bound to, if it was. A pod that has gone has none.
func (u *users) nodeOf(ctx context.Context, consumer resourceapi.ResourceClaimConsumerReference) (node string, known bool, err error) {
	pod, err := u.Client.CoreV1().Pods(u.claim.Namespace).Get(ctx, consumer.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && pod.UID != consumer.UID:
		return "", true, nil
	case err != nil:
		return "", false, fmt.Errorf("find out on which node pod %s/%s uses ResourceClaim %s: %w", u.claim.Namespace, consumer.Name, u.claim.Name, err)
	}
	return pod.Spec.NodeName, pod.Spec.NodeName != "", nil
}

func (u *users) fail(err error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.errs = append(u.errs, err)
}

// settle says what went wrong.
func (u *users) settle() error { return errors.Join(u.errs...) }

// noteUsers is for spaces that nothing else is to be done for.
func (c *Controller) noteUsers(ctx context.Context, claim *resourceapi.ResourceClaim, a *identity.Allocation) error {
	recorded, err := c.recordedFor(a.Claim)
	if err != nil {
		return err
	}
	u := c.usersOf(claim, a)
	for _, ns := range recorded {
		if a.Owns(ns, c.keys) && ns.DeletionTimestamp == nil {
			u.note(ctx, ns)
		}
	}
	return u.settle()
}

// nodesOn reads the note on a namespace. Not all pods need be in it.
func nodesOn(ns *corev1.Namespace, key string) map[types.UID]string {
	nodes := map[types.UID]string{}
	for entry := range strings.SplitSeq(ns.Annotations[key], ",") {
		if node, pod, ok := strings.Cut(entry, "="); ok {
			nodes[types.UID(pod)] = node
		}
	}
	return nodes
}

// sayNodes is the note for these pods. A claim can have 256.
func sayNodes(nodes map[types.UID]string) string {
	var entries []string
	for pod, node := range nodes {
		entries = append(entries, node+"="+string(pod))
	}
	slices.Sort(entries)
	return strings.Join(entries, ",")
}

// orNone is the value of an annotation that is left out when it says nothing.
func orNone(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

// sameNodes says whether two notes name the same nodes.
func sameNodes(a, b map[types.UID]string) bool {
	set := func(nodes map[types.UID]string) []string {
		return slices.Compact(slices.Sorted(maps.Values(nodes)))
	}
	return slices.Equal(set(a), set(b))
}

func uids(consumers []resourceapi.ResourceClaimConsumerReference) []types.UID {
	var out []types.UID
	for _, consumer := range consumers {
		out = append(out, consumer.UID)
	}
	return out
}

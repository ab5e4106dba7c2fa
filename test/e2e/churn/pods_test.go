// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// patience is how long each step in the life of a pod may take while nothing is killed. The
// kubelets of the test clusters try again after 10 to 15 seconds, and a try may meet a fault.
const patience = framework.Timeout

// impatience is after how long most users of a pod that is not ready give it up.
const impatience = 8 * time.Second

// claimsPerPod returns how many claims of its own each pod has. Before Kubernetes 1.37,
// kube-controller-manager can remove the name of one of several claims from the status of a pod,
// so that the pod does not terminate.
func claimsPerPod() int {
	if env.AtLeast("1.37") {
		return 3
	}
	return 1
}

// live creates a pod, mostly waits for it to be ready, for some time or for as
// long as it takes, and deletes it in one of several ways.
func (r *run) live(ctx context.Context, rng *rand.Rand, name string) error {
	// All that is random is decided here, so that it does not depend on what the
	// cluster does.
	waits := patience
	switch n := rng.IntN(10); {
	case n < 3:
		waits = 0
	case n < 9:
		waits = impatience
	}
	stays := between(rng, 0, 2*time.Second)
	grace := int64(1)
	if rng.IntN(5) == 0 {
		grace = 0
	}

	script := "test -s /etc/" + template + "/token"
	pod := framework.NewPodFromTemplate(name, template)
	for i := 2; i <= claimsPerPod(); i++ {
		claim := fmt.Sprint("claim-", i)
		script += " && test -s /etc/" + claim + "/token"
		pod.Spec.ResourceClaims = append(pod.Spec.ResourceClaims, corev1.PodResourceClaim{Name: claim, ResourceClaimTemplateName: ptr.To(template)})
		pod.Spec.Containers[0].Resources.Claims = append(pod.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: claim})
	}
	pod = framework.WithScript(script+" && exec sleep infinity", pod)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	if err := r.persist(ctx, "create pod "+name, apierrors.IsAlreadyExists, func(ctx context.Context) error {
		_, err := env.Client.CoreV1().Pods(r.namespace).Create(ctx, pod, metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	object := framework.Pod(env.Client, r.namespace, name)
	if waits > 0 {
		if err := r.awaitReady(ctx, object, waits); err != nil {
			return err
		}
	}
	pause(ctx, stays)
	if err := r.remove(ctx, name, grace); err != nil {
		return err
	}
	return r.patiently(ctx, func(ctx context.Context) error { return framework.UntilDeleted[*corev1.Pod](ctx, object) })
}

// awaitReady waits for a pod. It is a fault when a pod fails, and when it is not ready
// after all of patience; a shorter wait may end without a ready pod.
func (r *run) awaitReady(ctx context.Context, pod framework.Object, limit time.Duration) error {
	var got *corev1.Pod
	err := r.patiently(ctx, func(waiting context.Context) (err error) {
		waiting, cancel := context.WithTimeout(waiting, limit)
		defer cancel()
		got, err = framework.Until(waiting, pod, framework.That("ready or failed", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed || framework.PodReady().Holds(p)
		}))
		return err
	})
	switch {
	case err != nil && limit < patience && ctx.Err() == nil:
		r.gaveUp.Add(1)
		return nil
	case err != nil:
		return err
	case got.Status.Phase == corev1.PodFailed:
		return fmt.Errorf("%s has failed: %s %s, containers: %v", pod, got.Status.Reason, got.Status.Message, got.Status.ContainerStatuses)
	}
	return nil
}

// remove deletes a pod, with grace period 0 by force.
func (r *run) remove(ctx context.Context, name string, grace int64) error {
	return r.persist(ctx, "delete pod "+name, apierrors.IsNotFound, func(ctx context.Context) error {
		return env.Client.CoreV1().Pods(r.namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(grace)})
	})
}

// persist does something until it succeeds, or fails in a way that says that it
// had succeeded before.
func (r *run) persist(ctx context.Context, what string, done func(error) bool, do func(context.Context) error) error {
	var last error
	err := r.patiently(ctx, func(ctx context.Context) error {
		return wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			err := do(ctx)
			if ctx.Err() == nil {
				last = err
			}
			return err == nil || done(err), nil
		})
	})
	if err != nil {
		return fmt.Errorf("%s: %w; the last answer was: %w", what, err, last)
	}
	return nil
}

// untilNothingIsLeft waits until there are no spaces, and nothing on the nodes,
// but those of the pods that stay.
func (r *run) untilNothingIsLeft(ctx context.Context, stay []standingPod) error {
	keep := map[types.UID]bool{}
	for _, pod := range stay {
		keep[pod.claim] = true
	}
	start := time.Now()
	left, err := untilNone(ctx, func(ctx context.Context) ([]string, error) { return r.leftovers(ctx, keep) })
	if err != nil {
		return fmt.Errorf("waited for nothing to be left but what %d pods use: %w; there is: %v", len(stay), err, left)
	}
	for _, pod := range stay {
		if err := r.complete(ctx, pod); err != nil {
			return err
		}
	}
	r.t.Logf("nothing is left but what %d pods use, after %s", len(stay), time.Since(start).Round(time.Second))
	return nil
}

// untilNone waits until there is nothing, and returns what there was the last time.
func untilNone(ctx context.Context, find func(context.Context) ([]string, error)) (left []string, err error) {
	var last error
	if err = wait.PollUntilContextTimeout(ctx, time.Second, patience, true, func(ctx context.Context) (bool, error) {
		found, err := find(ctx)
		if ctx.Err() == nil {
			left, last = found, err
		}
		return err == nil && len(found) == 0, nil
	}); err != nil {
		err = errors.Join(err, last)
	}
	return left, err
}

// leftovers are the claims, spaces and traces of claims that are not to be kept.
func (r *run) leftovers(ctx context.Context, keep map[types.UID]bool) ([]string, error) {
	var left []string
	claims, err := env.Client.ResourceV1().ResourceClaims(r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the claims: %w", err)
	}
	for _, claim := range claims.Items {
		if !keep[claim.UID] {
			left = append(left, fmt.Sprintf("claim %s (%s)", claim.Name, claim.UID))
		}
	}
	spaces, err := env.Spaces(ctx)
	if err != nil {
		return nil, err
	}
	for _, ns := range spaces {
		if !keep[claimOf(ns)] {
			left = append(left, fmt.Sprintf("space %s of claim %s", ns.Name, claimOf(ns)))
		}
	}
	traces, err := env.NodeFiles(ctx)
	if err != nil {
		return nil, err
	}
	for _, trace := range traces {
		if !keep[trace.Claim] {
			left = append(left, trace.String())
		}
	}
	return left, nil
}

// complete fails unless a pod has the space that it had at first, and files.
func (r *run) complete(ctx context.Context, pod standingPod) error {
	space, err := spaceOf(ctx, pod.claim)
	if err != nil {
		return err
	}
	traces, err := env.NodeFiles(ctx)
	if err != nil {
		return err
	}
	if space != pod.space || !slices.ContainsFunc(traces, func(trace framework.NodeFile) bool { return trace.Claim == pod.claim }) {
		return fmt.Errorf("claim %s is in use, but has the space %v, had %v, or no files among %v", pod.claim, space, pod.space, traces)
	}
	return nil
}

// spaceOf returns the only space of a claim.
func spaceOf(ctx context.Context, claim types.UID) (spaceID, error) {
	spaces, err := env.Spaces(ctx)
	if err != nil {
		return spaceID{}, err
	}
	var found []spaceID
	for _, ns := range spaces {
		if claimOf(ns) == claim && ns.DeletionTimestamp == nil {
			found = append(found, spaceID{ns.Name, ns.UID})
		}
	}
	if len(found) != 1 {
		return spaceID{}, fmt.Errorf("claim %s has the spaces %v, want one", claim, found)
	}
	return found[0], nil
}

func claimOf(ns corev1.Namespace) types.UID {
	return types.UID(ns.Labels[framework.ClaimUIDLabel])
}

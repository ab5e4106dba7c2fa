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

// stepTimeout is how long each step in the lifecycle of a pod may take without a fault. The kubelets
// of the test clusters retry after 10 to 15 seconds, and a retry can fail because of a fault.
const stepTimeout = framework.Timeout

// readyTimeout is the time after which clients delete most pods that are not ready.
const readyTimeout = 8 * time.Second

// claimsPerPod returns how many claims each pod has. Before Kubernetes 1.37,
// kube-controller-manager can remove the name of one of several claims from the status of a pod,
// so that the pod does not terminate.
func claimsPerPod() int {
	if env.AtLeast("1.37") {
		return 3
	}
	return 1
}

// runPod creates a pod, usually waits until it is ready or until a timeout, and deletes the pod,
// with a random grace period.
func (r *run) runPod(ctx context.Context, rng *rand.Rand, name string) error {
	// All random choices are made here, so that they do not depend on the cluster.
	timeout := stepTimeout
	switch n := rng.IntN(10); {
	case n < 3:
		timeout = 0
	case n < 9:
		timeout = readyTimeout
	}
	lifetime := randomDuration(rng, 0, 2*time.Second)
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
	if err := r.retry(ctx, "create pod "+name, apierrors.IsAlreadyExists, func(ctx context.Context) error {
		_, err := env.Client.CoreV1().Pods(r.namespace).Create(ctx, pod, metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	object := framework.Pod(env.Client, r.namespace, name)
	if timeout > 0 {
		if err := r.awaitReady(ctx, object, timeout); err != nil {
			return err
		}
	}
	pause(ctx, lifetime)
	if err := r.remove(ctx, name, grace); err != nil {
		return err
	}
	return r.withRestartedTimeout(ctx, func(ctx context.Context) error { return framework.UntilDeleted[*corev1.Pod](ctx, object) })
}

// awaitReady waits until a pod is ready. It returns an error if the pod fails, or is not ready after
// stepTimeout. After a shorter timeout, the pod need not be ready.
func (r *run) awaitReady(ctx context.Context, pod framework.Object, timeout time.Duration) error {
	var got *corev1.Pod
	err := r.withRestartedTimeout(ctx, func(waiting context.Context) (err error) {
		waiting, cancel := context.WithTimeout(waiting, timeout)
		defer cancel()
		got, err = framework.Until(waiting, pod, framework.That("ready or failed", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed || framework.PodReady().Holds(p)
		}))
		return err
	})
	switch {
	case err != nil && timeout < stepTimeout && ctx.Err() == nil:
		r.abandoned.Add(1)
		return nil
	case err != nil:
		return err
	case got.Status.Phase == corev1.PodFailed:
		return fmt.Errorf("%s has failed: %s %s, containers: %v", pod, got.Status.Reason, got.Status.Message, got.Status.ContainerStatuses)
	}
	return nil
}

// remove deletes a pod. With grace period 0, it force-deletes the pod.
func (r *run) remove(ctx context.Context, name string, grace int64) error {
	return r.retry(ctx, "delete pod "+name, apierrors.IsNotFound, func(ctx context.Context) error {
		return env.Client.CoreV1().Pods(r.namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(grace)})
	})
}

// retry calls a function until it succeeds, or until done reports that its error shows that an
// earlier call has succeeded.
func (r *run) retry(ctx context.Context, what string, done func(error) bool, do func(context.Context) error) error {
	var last error
	err := r.withRestartedTimeout(ctx, func(ctx context.Context) error {
		return wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			err := do(ctx)
			if ctx.Err() == nil {
				last = err
			}
			return err == nil || done(err), nil
		})
	})
	if err != nil {
		return fmt.Errorf("%s: %w; the last error was: %w", what, err, last)
	}
	return nil
}

// awaitCleanup waits until all claims, spaces and files on nodes are deleted, except for those of the
// given pods, which must still have theirs.
func (r *run) awaitCleanup(ctx context.Context, pods []probePod) error {
	keep := map[types.UID]bool{}
	for _, pod := range pods {
		keep[pod.claim] = true
	}
	start := time.Now()
	remaining, err := r.awaitNone(ctx, func(ctx context.Context) ([]string, error) { return r.leftovers(ctx, keep) })
	if err != nil {
		return fmt.Errorf("wait until everything is cleaned up except for the spaces of %d pods: %w; remaining: %v", len(pods), err, remaining)
	}
	for _, pod := range pods {
		if err := r.checkSpace(ctx, pod); err != nil {
			return err
		}
	}
	r.t.Logf("everything is cleaned up except for the spaces of %d pods, after %s", len(pods), time.Since(start).Round(time.Second))
	return nil
}

// awaitNone waits until find returns nothing, and returns its last result.
func (r *run) awaitNone(ctx context.Context, find func(context.Context) ([]string, error)) (remaining []string, err error) {
	limit := stepTimeout
	if r.duration > 0 {
		limit = longestWait
	}
	var last error
	if err = wait.PollUntilContextTimeout(ctx, time.Second, limit, true, func(ctx context.Context) (bool, error) {
		found, err := find(ctx)
		if ctx.Err() == nil {
			remaining, last = found, err
		}
		return err == nil && len(found) == 0, nil
	}); err != nil {
		err = errors.Join(err, last)
	}
	return remaining, err
}

// leftovers returns the claims, and the spaces and files of claims, except for those to keep.
func (r *run) leftovers(ctx context.Context, keep map[types.UID]bool) ([]string, error) {
	var out []string
	claims, err := env.Client.ResourceV1().ResourceClaims(r.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the claims: %w", err)
	}
	for _, claim := range claims.Items {
		if !keep[claim.UID] {
			out = append(out, fmt.Sprintf("claim %s (%s)", claim.Name, claim.UID))
		}
	}
	spaces, err := env.Spaces(ctx)
	if err != nil {
		return nil, err
	}
	for _, ns := range spaces {
		if !keep[claimOf(ns)] {
			out = append(out, fmt.Sprintf("space %s of claim %s", ns.Name, claimOf(ns)))
		}
	}
	files, err := env.NodeFiles(ctx)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if !keep[file.Claim] {
			out = append(out, file.String())
		}
	}
	return out, nil
}

// checkSpace returns an error unless a pod still has its first space, and files.
func (r *run) checkSpace(ctx context.Context, pod probePod) error {
	space, err := spaceOf(ctx, pod.claim)
	if err != nil {
		return err
	}
	files, err := env.NodeFiles(ctx)
	if err != nil {
		return err
	}
	if space != pod.space || !slices.ContainsFunc(files, func(file framework.NodeFile) bool { return file.Claim == pod.claim }) {
		return fmt.Errorf("claim %s is in use, but has space %v, want %v, or has no files among %v", pod.claim, space, pod.space, files)
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

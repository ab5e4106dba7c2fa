// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestCredentialsDieThoughAPodWithALongGracePeriodKeepsTheNamespace(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	s := env.SpaceOf(t, ns, "pod", "CLAIM")
	inside := framework.Runs(`trap "" TERM; while true; do sleep 1; done`, framework.NewPod("stays"))
	inside.Spec.TerminationGracePeriodSeconds = ptr.To[int64](600)
	env.CreatePod(t, s.Namespace, inside)
	client := env.As(t, s.Namespace, "space")
	list := func(ctx context.Context) error {
		_, err := client.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{})
		return err
	}
	framework.AwaitAllowed(t, "to list pods with a token of the space", list)

	env.DeletePod(t, ns, "pod")
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.Deallocated())
	start := time.Now()
	framework.Await(t, framework.Namespace(env.Client, s.Namespace), framework.That("Terminating", func(n *corev1.Namespace) bool { return n.DeletionTimestamp != nil }))
	framework.AwaitRefused(t, "to list pods with the old token", list)
	t.Logf("refused at the latest %s after the deallocation", time.Since(start).Round(time.Millisecond))
	pod, err := env.Client.CoreV1().Pods(s.Namespace).Get(t.Context(), "stays", metav1.GetOptions{})
	if err != nil || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod should keep the namespace, or this shows nothing: %v, %v", pod.Status.Phase, err)
	}
	if err := env.Client.CoreV1().Pods(s.Namespace).Delete(t.Context(), "stays", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Error(err)
	}
	env.AwaitNamespaceGone(t, s.Namespace)
}

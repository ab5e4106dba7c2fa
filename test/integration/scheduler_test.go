// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The scheduler's part, by short names.
var (
	modify          = framework.Modify
	allocate        = framework.Allocate
	deallocate      = framework.Deallocate
	standing        = framework.Standing
	spacesOf        = framework.SpacesOf
	startController = framework.StartController
)

// createPod creates a pod without a scheduler and a kubelet.
func createPod(t *testing.T, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	pod.Spec.SchedulerName = "none"
	created, err := env.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.ForceDelete(context.Background(), namespace, pod.Name) })
	return created
}

// bind does what the scheduler does last.
func bind(t *testing.T, pod *corev1.Pod, node string) *corev1.Pod {
	t.Helper()
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := env.Client.CoreV1().Pods(pod.Namespace).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod = pod.DeepCopy()
	pod.Spec.NodeName = node
	return pod
}

// reserve does what the scheduler does before it binds a pod.
func reserve(t *testing.T, claim string, pod *corev1.Pod) {
	t.Helper()
	modify(t, env, pod.Namespace, claim, usedBy(pod))
}

func usedBy(pod *corev1.Pod) func(*resourceapi.ResourceClaim) {
	return func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
	}
}

// release does what kube-controller-manager does when one of several pods terminates.
func release(t *testing.T, claim string, pod *corev1.Pod) {
	t.Helper()
	modify(t, env, pod.Namespace, claim, func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = slices.DeleteFunc(c.Status.ReservedFor, func(r resourceapi.ResourceClaimConsumerReference) bool { return r.UID == pod.UID })
	})
}

// awaitUsedBy waits until the namespace of a space records the nodes of these pods.
func awaitUsedBy(t *testing.T, keys spaceapi.Keys, namespace string, pods ...*corev1.Pod) {
	t.Helper()
	var want []string
	for _, pod := range pods {
		want = append(want, pod.Spec.NodeName+"="+string(pod.UID))
	}
	slices.Sort(want)
	framework.Await(t, framework.Namespace(env.Client, namespace), framework.That(fmt.Sprintf("used by %q", want), func(ns *corev1.Namespace) bool {
		return ns.Annotations[keys.Nodes] == strings.Join(want, ",")
	}))
}

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

var (
	modify          = framework.UpdateClaimStatus
	allocate        = framework.Allocate
	deallocate      = framework.Deallocate
	readyClaim      = framework.ReadyClaim
	spacesOf        = framework.SpacesOf
	startController = framework.StartController
)

// createPod creates a pod that no scheduler binds.
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

// bind binds a pod to a node, as the scheduler does.
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

// reserve reserves a claim for a pod, as the scheduler does before it binds the pod.
func reserve(t *testing.T, claim string, pod *corev1.Pod) {
	t.Helper()
	modify(t, env, pod.Namespace, claim, reservedFor(pod))
}

func reservedFor(pod *corev1.Pod) func(*resourceapi.ResourceClaim) {
	return func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
	}
}

// release removes a pod from the reservations of a claim, as kube-controller-manager does when one
// of several pods terminates.
func release(t *testing.T, claim string, pod *corev1.Pod) {
	t.Helper()
	modify(t, env, pod.Namespace, claim, func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = slices.DeleteFunc(c.Status.ReservedFor, func(r resourceapi.ResourceClaimConsumerReference) bool { return r.UID == pod.UID })
	})
}

// awaitNodesRecorded waits until the metadata of a space name the nodes of these pods.
func awaitNodesRecorded(t *testing.T, keys spaceapi.Keys, namespace string, pods ...*corev1.Pod) {
	t.Helper()
	var want []string
	for _, pod := range pods {
		want = append(want, pod.Spec.NodeName+"="+string(pod.UID))
	}
	slices.Sort(want)
	framework.Await(t, framework.Namespace(env.Client, namespace), framework.That(fmt.Sprintf("with the nodes %q", want), func(ns *corev1.Namespace) bool {
		return ns.Annotations[keys.Nodes] == strings.Join(want, ",")
	}))
}

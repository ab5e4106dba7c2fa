// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"errors"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestNodeFailures_keepOrEndSpaces runs the failures of both nodes in parallel, because they mostly wait:
// a kubelet without a registered plugin retries after a minute or more, and a kubelet that starts
// unprepares claims without pods after a minute.
func TestNodeFailures_keepOrEndSpaces(t *testing.T) {
	first, second := env.Cluster.Nodes()[0], env.Cluster.Nodes()[1]
	t.Run("nodes", func(t *testing.T) {
		t.Run("first", func(t *testing.T) {
			t.Parallel()
			t.Run("an empty /run", func(t *testing.T) {
				testNodeRestart(t, first, func() error { return first.WipeRun(t.Context()) })
			})
			t.Run("a restarted kubelet", func(t *testing.T) { testKubeletRestart(t, first) })
		})
		t.Run("second", func(t *testing.T) {
			t.Parallel()
			t.Run("a lost node", func(t *testing.T) { testLostNode(t, second) })
			t.Run("a reboot", func(t *testing.T) {
				testNodeRestart(t, second, func() error { return second.Reboot(t.Context()) })
			})
		})
	})
	env.AwaitHealthy(t)
}

func testLostNode(t *testing.T, lost *cluster.Host) {
	t.Helper()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.On(lost.Name(), framework.NewPod("pod", "test-claim")))
	stolen := env.WithToken(t, env.Exec(t, ns, "pod", "cat", "/etc/test-claim/token"))
	list := framework.Get(framework.CorePath(s.Namespace, "configmaps"))
	if err := list.By(stolen)(t.Context()); err != nil {
		t.Fatalf("the pod's token does not work outside of the pod: %v", err)
	}

	// The kubelet creates its Node when it starts.
	reconnect := sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), framework.Timeout)
		defer cancel()
		return errors.Join(lost.Connect(ctx), lost.Kill(ctx, "kubelet"), lost.Start(ctx, "kubelet"))
	})
	t.Cleanup(func() {
		if err := reconnect(); err != nil {
			t.Error(err)
		}
	})
	if err := lost.Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "delete", "node", lost.Name())

	// The API server caches valid tokens for some seconds.
	framework.AwaitDenied(t, "a request with the token of a deleted node", list.By(stolen), "Unauthorized")
	// The token is invalid because of the Node. The ServiceAccount still exists until Kubernetes deletes
	// the pods of the lost node, most of a minute later.
	if _, err := env.Client.CoreV1().ServiceAccounts(s.Namespace).Get(t.Context(), "space", metav1.GetOptions{}); err != nil {
		if now, podErr := env.Client.CoreV1().Pods(ns).Get(t.Context(), "pod", metav1.GetOptions{}); podErr == nil && now.DeletionTimestamp == nil {
			t.Errorf("the space was deprovisioned before its pod was deleted: %v", err)
		}
	}

	if err := env.ForceDelete(t.Context(), ns, "pod"); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	env.AwaitNamespaceDeleted(t, s.Namespace)

	if err := reconnect(); err != nil {
		t.Fatal(err)
	}
	env.AwaitNoFilesOf(t, s.Claim)
	framework.Await(t, framework.Node(env.Client, lost.Name()), framework.NodeReady())
	env.CreatePod(t, ns, framework.On(lost.Name(), framework.NewPod("pod", "test-claim")))
	env.SpaceOf(t, ns, "pod", "test-claim").CheckUsable(t, ns, "pod")
}

// testNodeRestart checks that a pod has valid credentials of the same space after its node has lost all
// files in memory.
func testNodeRestart(t *testing.T, node *cluster.Host, restart func() error) {
	t.Helper()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.On(node.Name(), framework.NewPod("pod", "test-claim")))
	before := framework.Await(t, framework.Pod(env.Client, ns, "pod"), framework.PodReady())
	s.Kubectl(t, ns, "pod", "create", "configmap", "kept")

	if err := restart(); err != nil {
		t.Fatal(err)
	}
	after := framework.Await(t, framework.Pod(env.Client, ns, "pod"), framework.PodReady().And(framework.That("in another container", func(p *corev1.Pod) bool {
		return p.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID
	})))
	if after.UID != before.UID {
		t.Fatalf("the pod was replaced: UID %s, was %s", after.UID, before.UID)
	}
	if now := env.SpaceOf(t, ns, "pod", "test-claim"); now != s {
		t.Errorf("the pod has %v, had %v", now, s)
	}
	s.Kubectl(t, ns, "pod", "get", "configmap", "kept")
	s.CheckUsable(t, ns, "pod")

	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
	env.AwaitNoFilesOf(t, s.Claim)
}

func testKubeletRestart(t *testing.T, node *cluster.Host) {
	t.Helper()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.On(node.Name(), framework.NewPod("pod", "test-claim")))
	if err := node.Kill(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}
	// The pod is deleted while the kubelet is not running.
	env.Kubectl(t, "delete", "pod", "pod", "-n", ns, "--wait=false")
	// The claim must also be reserved for the later pod before the kubelet terminates the first, even if
	// the node gets taints meanwhile.
	tolerant := framework.On(node.Name(), framework.NewPod("later", "test-claim"))
	tolerant.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	env.StartPod(t, ns, tolerant)
	framework.Await(t, framework.Pod(env.Client, ns, "later"), framework.That("bound", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }))
	if err := node.Start(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}

	framework.AwaitDeleted[*corev1.Pod](t, framework.Pod(env.Client, ns, "pod"))
	framework.Await(t, framework.Pod(env.Client, ns, "later"), framework.PodReady())
	later := env.SpaceOf(t, ns, "later", "test-claim")
	if later != s {
		t.Errorf("the space of a claim in use is %v, was %v", later, s)
	}
	later.CheckUsable(t, ns, "later")
	env.DeletePod(t, ns, "later")
	env.AwaitNamespaceDeleted(t, s.Namespace)
	env.AwaitNoFilesOf(t, s.Claim)
}

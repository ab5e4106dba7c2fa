// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The failures of one node run beside those of the other, because most of
// them are waiting: a kubelet that has no plugin when a pod starts tries again after
// a minute or more, and one that starts looks for claims without pods after a minute.
func TestNodeFailures_keepOrEndSpaces(t *testing.T) {
	first, second := env.Cluster.Nodes()[0], env.Cluster.Nodes()[1]
	t.Run("nodes", func(t *testing.T) {
		t.Run("first", func(t *testing.T) {
			t.Parallel()
			t.Run("an empty /run", func(t *testing.T) {
				comesBack(t, first, func() error { return first.WipeRun(t.Context()) })
			})
			t.Run("a restarted kubelet", func(t *testing.T) { kubeletRestarts(t, first) })
		})
		t.Run("second", func(t *testing.T) {
			t.Parallel()
			t.Run("a lost node", func(t *testing.T) { getsLost(t, second) })
			t.Run("a reboot", func(t *testing.T) {
				comesBack(t, second, func() error { return second.Reboot(t.Context()) })
			})
		})
	})
	env.AwaitHealthy(t)
}

func getsLost(t *testing.T, lost *cluster.Host) {
	t.Helper()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.On(lost.Name(), framework.NewPod("pod", "test-claim")))
	s := env.SpaceOf(t, ns, "pod", "TEST_CLAIM")
	thief := env.WithToken(t, env.Exec(t, ns, "pod", "cat", "/etc/test-claim/token"))
	list := func(ctx context.Context) error {
		_, err := thief.CoreV1().ConfigMaps(s.Namespace).List(ctx, metav1.ListOptions{})
		return err
	}
	if err := list(t.Context()); err != nil {
		t.Fatalf("the pod's token does not work outside of it, so that the check below would show nothing: %v", err)
	}

	returned := false
	comeBack := func() error {
		if returned {
			return nil
		}
		returned = true
		return bringBack(lost)
	}
	t.Cleanup(func() {
		if err := comeBack(); err != nil {
			t.Error(err)
		}
	})
	if err := lost.Disconnect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := env.Client.CoreV1().Nodes().Delete(t.Context(), lost.Name(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	// The API server remembers for some seconds that a token was good.
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 500*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		last = list(ctx)
		return apierrors.IsUnauthorized(last), nil
	})
	if err != nil {
		t.Fatalf("waited for the token of a node that is gone to be refused: %v; the last answer was: %v", err, last)
	}
	// It is refused because of the Node, and not because its ServiceAccount is deleted: that
	// exists until Kubernetes deletes the pods of the lost node, most of a minute later.
	if _, err := env.Client.CoreV1().ServiceAccounts(s.Namespace).Get(t.Context(), "space", metav1.GetOptions{}); err != nil {
		if now, podErr := env.Client.CoreV1().Pods(ns).Get(t.Context(), "pod", metav1.GetOptions{}); podErr == nil && now.DeletionTimestamp == nil {
			t.Errorf("the space should be there as long as its pod is: %v", err)
		}
	}

	if err := env.ForceDelete(t.Context(), ns, "pod"); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	env.AwaitNamespaceGone(t, s.Namespace)

	if err := comeBack(); err != nil {
		t.Fatal(err)
	}
	env.AwaitNoTraceOf(t, claim.UID)
	framework.Await(t, framework.Node(env.Client, lost.Name()), framework.NodeReady())
	env.CreatePod(t, ns, framework.On(lost.Name(), framework.NewPod("pod", "test-claim")))
	env.SpaceOf(t, ns, "pod", "TEST_CLAIM").Usable(t, ns, "pod")
}

// bringBack connects a node whose Node was deleted. The kubelet creates it
// only when it starts.
func bringBack(node *cluster.Host) error {
	ctx, cancel := context.WithTimeout(context.Background(), framework.Patience)
	defer cancel()
	return errors.Join(node.Connect(ctx), node.Kill(ctx, "kubelet"), node.Start(ctx, "kubelet"))
}

// comesBack checks that a pod on a node that loses all in its memory has working
// credentials of the same space afterwards.
func comesBack(t *testing.T, node *cluster.Host, breakIt func() error) {
	t.Helper()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	before := env.CreatePod(t, ns, framework.On(node.Name(), framework.NewPod("pod", "test-claim")))
	s := env.SpaceOf(t, ns, "pod", "TEST_CLAIM")
	s.Kubectl(t, ns, "pod", "create", "configmap", "kept")

	if err := breakIt(); err != nil {
		t.Fatal(err)
	}
	after := framework.Await[*corev1.Pod](t, framework.Pod(env.Client, ns, "pod"), podReadyAgain(before))
	if after.UID != before.UID {
		t.Fatalf("this is another pod: UID %s, was %s", after.UID, before.UID)
	}
	if now := env.SpaceOf(t, ns, "pod", "TEST_CLAIM"); now != s {
		t.Errorf("the pod has %v, had %v", now, s)
	}
	s.Kubectl(t, ns, "pod", "get", "configmap", "kept")
	s.Usable(t, ns, "pod")

	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceGone(t, s.Namespace)
	env.AwaitNoTraceOf(t, claim.UID)
}

func kubeletRestarts(t *testing.T, node *cluster.Host) {
	t.Helper()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.On(node.Name(), framework.NewPod("pod", "test-claim")))
	s := env.SpaceOf(t, ns, "pod", "TEST_CLAIM")
	if err := node.Kill(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}
	// This is deleted while no kubelet runs.
	if err := env.Client.CoreV1().Pods(ns).Delete(t.Context(), "pod", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// The claim has to be the later pod's, too, before the kubelet is there to end the
	// first: however long that takes, and whatever becomes of the node meanwhile.
	tolerant := framework.On(node.Name(), framework.NewPod("later", "test-claim"))
	tolerant.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	env.StartPod(t, ns, tolerant)
	framework.Await(t, framework.Pod(env.Client, ns, "later"), framework.That("bound", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }))
	if err := node.Start(t.Context(), "kubelet"); err != nil {
		t.Fatal(err)
	}

	framework.AwaitGone[*corev1.Pod](t, framework.Pod(env.Client, ns, "pod"))
	framework.Await(t, framework.Pod(env.Client, ns, "later"), framework.PodReady())
	later := env.SpaceOf(t, ns, "later", "TEST_CLAIM")
	if later != s {
		t.Errorf("the claim was in use all the time, but has %v, had %v", later, s)
	}
	later.Usable(t, ns, "later")
	env.DeletePod(t, ns, "later")
	env.AwaitNamespaceGone(t, s.Namespace)
	env.AwaitNoTraceOf(t, claim.UID)
}

// podReadyAgain is a ready pod in other containers than the given one had.
func podReadyAgain(before *corev1.Pod) framework.Predicate[*corev1.Pod] {
	old := map[string]bool{}
	for _, c := range before.Status.ContainerStatuses {
		old[c.ContainerID] = true
	}
	ready := framework.PodReady()
	return framework.That("ready in new containers", func(p *corev1.Pod) bool {
		return ready.Holds(p) && !slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return old[c.ContainerID] })
	})
}

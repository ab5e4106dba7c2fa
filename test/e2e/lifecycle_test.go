// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestRecreatedPod_hasANewSpace(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.NewPod("pod", "test-claim"))
	first := env.SpaceOf(t, ns, "pod", "TEST_CLAIM")
	first.Kubectl(t, ns, "pod", "create", "configmap", "left-behind")

	env.DeletePod(t, ns, "pod")
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	env.CreatePod(t, ns, framework.NewPod("pod", "test-claim"))
	second := env.SpaceOf(t, ns, "pod", "TEST_CLAIM")

	if first.Namespace == second.Namespace {
		t.Fatalf("the claim has namespace %s again", first.Namespace)
	}
	second.Usable(t, ns, "pod")
	if now := framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(1)); now.UID != claim.UID {
		t.Fatalf("this is another claim: UID %s, was %s", now.UID, claim.UID)
	}
	env.AwaitNamespaceGone(t, first.Namespace)
}

func TestDeletedClaim_leavesNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim", "one", "two"))
	env.CreatePod(t, ns, framework.On(env.Node(0), framework.NewPod("pod0", "test-claim")))
	env.CreatePod(t, ns, framework.On(env.Node(1), framework.NewPod("pod1", "test-claim")))
	spaces := []framework.Space{env.SpaceOf(t, ns, "pod0", "TEST_CLAIM_ONE"), env.SpaceOf(t, ns, "pod0", "TEST_CLAIM_TWO")}
	for i := range 2 {
		if !slices.ContainsFunc(env.TracesOf(t, claim.UID), func(trace framework.Trace) bool { return trace.Node == env.Node(i) }) {
			t.Errorf("nothing on %s names the claim while it is in use: the check below would show nothing", env.Node(i))
		}
	}

	env.Kubectl(t, "delete", "-n", ns, "pod/pod0", "pod/pod1", "resourceclaim/test-claim")
	for _, s := range spaces {
		env.AwaitNamespaceGone(t, s.Namespace)
	}
	env.NoTraceOf(t, claim.UID)
}

func onNode(t *testing.T, i int, command string, args ...string) string {
	t.Helper()
	out, err := env.Cluster.Nodes()[i].Command(t.Context(), append([]string{command}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s on %s: %v: %s", command, env.Node(i), err, out)
	}
	return string(out)
}

func TestServiceAccount_isRestoredWithANewToken(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.NewPod("pod", "test-claim"))
	s := env.SpaceOf(t, ns, "pod", "TEST_CLAIM")
	s.Kubectl(t, ns, "pod", "create", "configmap", "kept")
	before := env.Exec(t, ns, "pod", "cat", "/etc/test-claim/token")
	account := framework.SpaceStatus(t, framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(1)), 0).ServiceAccountUID

	// Without waiting: the token may be revoked before the answer.
	s.Kubectl(t, ns, "pod", "delete", "serviceaccount", "space", "--wait=false")
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns,
		framework.About("ResourceClaim", "test-claim", spaceapi.ReasonDriftCorrected, "ServiceAccount space"))
	framework.Await(t, framework.ServiceAccount(env.Client, s.Namespace, "space"),
		framework.That("another one", func(sa *corev1.ServiceAccount) bool { return sa.UID != account }))

	awaitOtherToken(t, ns, "pod", before)
	s.AwaitKubectl(t, ns, "pod", "get", "configmap", "kept")
}

// awaitOtherToken waits until the file in the container has changed. A file can
// only be looked at, so this looks again and again.
func awaitOtherToken(t *testing.T, namespace, pod, before string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		now, err := env.TryExec(ctx, namespace, pod, "cat", "/etc/test-claim/token")
		return err == nil && now != before, nil
	})
	if err != nil {
		t.Fatalf("waited for another token in pod %s: %v", pod, err)
	}
}

func TestPod_withoutAClaimInItsContainersRuns(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	pod := framework.NewPod("pod", "test-claim")
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	env.CreatePod(t, ns, pod)
	if got := env.Variables(t, ns, "pod")["TEST_CLAIM_NAMESPACE"]; got != "" {
		t.Errorf("a container that does not list the claim has its namespace %s", got)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(1))
}

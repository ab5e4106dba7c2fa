// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func onNode(t *testing.T, i int, command string, args ...string) string {
	t.Helper()
	out, err := framework.OnNode(t.Context(), env.Cluster.Nodes()[i], append([]string{command}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestServiceAccount_isRestoredWithANewToken(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.NewPod("pod", "test-claim"))
	s.Kubectl(t, ns, "pod", "create", "configmap", "kept")
	before := env.Exec(t, ns, "pod", "cat", "/etc/test-claim/token")
	account := framework.SpaceStatus(t, framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(1)), 0).ServiceAccountUID

	// The token may be revoked before a response to kubectl's wait.
	s.Kubectl(t, ns, "pod", "delete", "serviceaccount", "space", "--wait=false")
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns,
		framework.EventAbout("ResourceClaim", "test-claim", spaceapi.ReasonRestored, "ServiceAccount space"))
	framework.Await(t, framework.ServiceAccount(env.Client, s.Namespace, "space"),
		framework.That("recreated", func(sa *corev1.ServiceAccount) bool { return sa.UID != account }))

	framework.Eventually(t, "a new token in the pod, with its permissions", func(ctx context.Context) error {
		// The API server may still have the previous ServiceAccount in a cache.
		out, err := env.TryExec(ctx, ns, "pod", "sh", "-c", "cat /etc/test-claim/token && kubectl --kubeconfig=/etc/test-claim/kubeconfig get configmap kept >/dev/null")
		if err == nil && out == before {
			err = errors.New("the token is unchanged")
		}
		return err
	})
}

// TestPreStopHook_hasTheCredentials deletes the last pod that uses a claim. Its hook removes a finalizer, as an
// operator does, which would otherwise keep the namespace.
func TestPreStopHook_hasTheCredentials(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	finalize := framework.RetryTimeouts(`kubectl --kubeconfig=/etc/test-claim/kubeconfig patch configmap held --type=merge --patch='{"metadata":{"finalizers":null}}'`)
	pod := framework.WithScript("trap exit TERM; sleep infinity & wait", framework.NewPod("pod", "test-claim"))
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](120)
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", finalize}}}}
	s := env.Use(t, ns, framework.NewClaim("test-claim"), pod)
	s.Kubectl(t, ns, "pod", "create", "configmap", "held")
	framework.SetFinalizers(t, env.Client.CoreV1().RESTClient(), "configmaps", s.Namespace, "held", "example.com/hold")
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
}

func TestPod_withoutAClaimInItsContainersRuns(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	pod := framework.NewPod("pod", "test-claim")
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	env.CreatePod(t, ns, pod)
	if got := env.Variables(t, ns, "pod")["TEST_CLAIM_NAMESPACE"]; got != "" {
		t.Errorf("a container that does not list the claim has the namespace %s", got)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(1))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// startControlPlane starts what does not run of etcd and the API server, and
// waits until what is written is stored: the API server may say that it is ready
// before it is connected to etcd again.
func startControlPlane() error {
	ctx, cancel := context.WithTimeout(context.Background(), framework.Patience)
	defer cancel()
	host := env.Cluster.ControlPlane()
	if err := errors.Join(host.Start(ctx, "etcd"), host.Start(ctx, "kube-apiserver")); err != nil {
		return err
	}
	maps := env.Client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	var last error
	if err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var made *corev1.ConfigMap
		if made, last = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "stored-"}}, metav1.CreateOptions{}); last == nil {
			last = maps.Delete(ctx, made.Name, metav1.DeleteOptions{})
		}
		return last == nil, nil
	}); err != nil {
		return fmt.Errorf("wait for the API server to store objects: %w; the last answer: %w", err, last)
	}
	return nil
}

// breakControlPlane kills a process of the control plane.
func breakControlPlane(t *testing.T, process string) {
	t.Helper()
	t.Cleanup(func() {
		if err := startControlPlane(); err != nil {
			t.Error(err)
		}
	})
	if err := env.Cluster.ControlPlane().Kill(t.Context(), process); err != nil {
		t.Fatal(err)
	}
}

func TestAPIServerOutage_keepsSpaces(t *testing.T) {
	ns := env.Namespace(t)
	var spaces []framework.Space
	for i, name := range []string{"pod0", "pod1"} {
		spaces = append(spaces, env.Use(t, ns, framework.NewClaim(name), framework.On(env.Node(i), framework.NewPod(name, name))))
	}
	leaving := framework.NewPod("leaving", "leaving")
	// It does nothing about SIGTERM, and ends when it is killed below.
	leaving.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
	left := env.Use(t, ns, framework.NewClaim("leaving"), leaving)
	leaving = framework.Await(t, framework.Pod(env.Client, ns, "leaving"), framework.PodReady())

	env.Kubectl(t, "delete", "pod", "leaving", "-n", ns, "--wait=false")
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", "leaving", "Killing", ""))
	if len(env.TracesOf(t, left.Claim)) == 0 {
		t.Error("the pod has ended before the API server: this test shows nothing about unpreparing")
	}
	breakControlPlane(t, "kube-apiserver")
	outage := time.After(2 * time.Minute)
	if err := env.KillContainer(t.Context(), leaving); err != nil {
		t.Fatal(err)
	}
	env.AwaitNoTraceOf(t, left.Claim)
	// Back-offs grow with time, and leases end.
	select {
	case <-outage:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := startControlPlane(); err != nil {
		t.Fatal(err)
	}

	for i, name := range []string{"pod0", "pod1"} {
		spaces[i].Usable(t, ns, name)
	}
	framework.AwaitGone[*corev1.Pod](t, framework.Pod(env.Client, ns, "leaving"))
	env.AwaitNamespaceGone(t, left.Namespace)
	env.Use(t, ns, framework.NewClaim("later"), framework.NewPod("later", "later")).Usable(t, ns, "later")
	env.AwaitHealthy(t)
}

func TestEtcdRestart_keepsSpaces(t *testing.T) {
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.NewPod("pod", "test-claim"))
	breakControlPlane(t, "etcd")
	if err := startControlPlane(); err != nil {
		t.Fatal(err)
	}
	s.Usable(t, ns, "pod")
	env.Use(t, ns, framework.NewClaim("later"), framework.NewPod("later", "later")).Usable(t, ns, "later")
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceGone(t, s.Namespace)
	env.AwaitHealthy(t)
}

func TestLeaderKill_eachPodHasOneSpace(t *testing.T) {
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "my-space")
	leader, err := env.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const pods = 12
	name := func(i int) string { return fmt.Sprintf("pod-%d", i) }
	for i := range pods {
		env.StartPod(t, ns, framework.NewPodFromTemplate(name(i), "my-space"))
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "namespaces", "", framework.That("a space of this test's", func(n *corev1.Namespace) bool {
		return n.Annotations["space.resource.example.com/claim-namespace"] == ns
	}))
	if err := env.KillContainer(t.Context(), leader); err != nil {
		t.Fatal(err)
	}

	var claims []types.UID
	for i := range pods {
		framework.Await(t, framework.Pod(env.Client, ns, name(i)), framework.PodReady())
		claim := env.ClaimOf(t, ns, name(i))
		claims = append(claims, claim.UID)
		if got := env.SpacesOf(t, claim.UID); len(got) != 1 || got[0].Name != framework.SpaceStatus(t, claim, 0).Namespace {
			t.Errorf("pod %s has %d spaces, want the one in the claim's status", name(i), len(got))
		}
		env.SpaceOf(t, ns, name(i), "my-space").Kubectl(t, ns, name(i), "get", "configmaps")
	}
	env.Kubectl(t, "delete", "pods", "-n", ns, "--all")
	for _, claim := range claims {
		env.AwaitNoSpaceOf(t, claim)
		env.NoTraceOf(t, claim)
	}
	env.AwaitHealthy(t)
}

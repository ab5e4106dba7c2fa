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

// startControlPlane starts etcd and the API server, and waits until the API server can store objects: it
// may be ready before it is connected to etcd.
func startControlPlane() error {
	ctx, cancel := context.WithTimeout(context.Background(), framework.Timeout)
	defer cancel()
	host := env.Cluster.ControlPlane()
	if err := errors.Join(host.Start(ctx, "etcd"), host.Start(ctx, "kube-apiserver")); err != nil {
		return err
	}
	maps := env.Client.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	var last error
	if err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var created *corev1.ConfigMap
		if created, last = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "stored-"}}, metav1.CreateOptions{}); last == nil {
			last = maps.Delete(ctx, created.Name, metav1.DeleteOptions{})
		}
		return last == nil, nil
	}); err != nil {
		return fmt.Errorf("wait for the API server to store objects: %w; last error: %w", err, last)
	}
	return nil
}

// killControlPlane kills a process of the control plane.
func killControlPlane(t *testing.T, process string) {
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
	deleted := framework.NewPod("deleted", "deleted")
	// The container ignores SIGTERM, and terminates when it is killed below.
	deleted.Spec.TerminationGracePeriodSeconds = ptr.To[int64](3600)
	space := env.Use(t, ns, framework.NewClaim("deleted"), deleted)
	deleted = framework.Await(t, framework.Pod(env.Client, ns, "deleted"), framework.PodReady())

	env.Kubectl(t, "delete", "pod", "deleted", "-n", ns, "--wait=false")
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.EventAbout("Pod", "deleted", "Killing", ""))
	if len(env.FilesOf(t, space.Claim)) == 0 {
		t.Error("the claim was unprepared before the outage")
	}
	killControlPlane(t, "kube-apiserver")
	outage := time.After(2 * time.Minute)
	if err := env.KillContainer(t.Context(), deleted); err != nil {
		t.Fatal(err)
	}
	env.AwaitNoFilesOf(t, space.Claim)
	// During a long outage, backoffs increase and leases expire.
	select {
	case <-outage:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := startControlPlane(); err != nil {
		t.Fatal(err)
	}

	for i, name := range []string{"pod0", "pod1"} {
		spaces[i].CheckUsable(t, ns, name)
	}
	framework.AwaitDeleted[*corev1.Pod](t, framework.Pod(env.Client, ns, "deleted"))
	env.AwaitNamespaceDeleted(t, space.Namespace)
	env.Use(t, ns, framework.NewClaim("later"), framework.NewPod("later", "later")).CheckUsable(t, ns, "later")
	env.AwaitHealthy(t)
}

func TestEtcdRestart_keepsSpaces(t *testing.T) {
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.NewPod("pod", "test-claim"))
	killControlPlane(t, "etcd")
	if err := startControlPlane(); err != nil {
		t.Fatal(err)
	}
	s.CheckUsable(t, ns, "pod")
	env.Use(t, ns, framework.NewClaim("later"), framework.NewPod("later", "later")).CheckUsable(t, ns, "later")
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
	env.AwaitHealthy(t)
}

func TestLeaderKill_eachPodHasOneSpace(t *testing.T) {
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "my-space")
	const pods = 12
	name := func(i int) string { return fmt.Sprintf("pod-%d", i) }
	for i := range pods {
		env.StartPod(t, ns, framework.NewPodFromTemplate(name(i), "my-space"))
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "namespaces", "", framework.That("a space of this test", func(n *corev1.Namespace) bool {
		return n.Annotations["space.resource.example.com/claim-namespace"] == ns
	}))
	if err := env.KillContainer(t.Context(), env.AwaitLeader(t)); err != nil {
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
		env.CheckNoFilesOf(t, claim)
	}
	env.AwaitHealthy(t)
}

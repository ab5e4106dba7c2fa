// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestPluginOutage_podsAreUnpreparedLater(t *testing.T) {
	ns := env.Namespace(t)
	var claims []types.UID
	var spaces []framework.Space
	for _, name := range []string{"waits", "forced"} {
		claims = append(claims, env.CreateClaim(t, ns, framework.NewClaim(name)).UID)
		env.CreatePod(t, ns, framework.NewPod(name, name))
		spaces = append(spaces, env.SpaceOf(t, ns, name, strings.ToUpper(name)))
	}
	waits := framework.Await(t, framework.Pod(env.Client, ns, "waits"), framework.PodReady())
	comeBack := sendPluginAway(t)

	if err := env.Client.CoreV1().Pods(ns).Delete(t.Context(), "waits", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := env.ForceDelete(t.Context(), ns, "forced"); err != nil {
		t.Fatal(err)
	}
	// The space of a force-deleted pod is deprovisioned without the plugin.
	env.AwaitNamespaceGone(t, spaces[1].Namespace)
	awaitContainerGone(t, waits)
	framework.Await(t, framework.Pod(env.Client, ns, "waits"), framework.That("kept until it is unprepared", func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil
	}))
	if len(env.TracesOf(t, claims[0])) == 0 {
		t.Error("the claim has been unprepared without the plugin: this test shows nothing")
	}

	comeBack()
	framework.AwaitGone[*corev1.Pod](t, framework.Pod(env.Client, ns, "waits"))
	env.AwaitNamespaceGone(t, spaces[0].Namespace)
	for _, claim := range claims {
		env.AwaitNoTraceOf(t, claim)
	}
	env.AwaitHealthy(t)
}

// sendPluginAway makes the DaemonSet fit no node, until the returned function has
// been called.
func sendPluginAway(t *testing.T) (comeBack func()) {
	t.Helper()
	patch := func(value string) {
		selector := []byte(`{"spec":{"template":{"spec":{"nodeSelector":{"example.com/no-such-node":` + value + `}}}}}`)
		_, err := env.Client.AppsV1().DaemonSets(framework.DriverNamespace).Patch(context.Background(), framework.PluginName, types.MergePatchType, selector, metav1.PatchOptions{})
		if err != nil {
			t.Errorf("change the node selector of the plugin: %v", err)
		}
	}
	patch(`"true"`)
	back := false
	comeBack = func() {
		if !back {
			back = true
			patch("null")
		}
	}
	t.Cleanup(comeBack)
	env.Kubectl(t, "wait", "-n", framework.DriverNamespace, "--for=delete", "pod", "-l", framework.PluginPods, "--timeout="+framework.Patience.String())
	return comeBack
}

// awaitContainerGone waits until the pod's container has ended. The kubelet does
// not tell the API server so while it can't unprepare the pod's claims.
func awaitContainerGone(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	var tasks string
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		var err error
		// A task that ends while it is being listed makes that fail.
		tasks, err = framework.OnNode(ctx, env.NodeOf(t, pod), "ctr", "--namespace=k8s.io", "tasks", "ls")
		return err == nil && !strings.Contains(tasks, id), nil
	})
	if err != nil {
		t.Fatalf("waited for the container %s of pod %s to end: %v; there are: %s", id, pod.Name, err, tasks)
	}
}

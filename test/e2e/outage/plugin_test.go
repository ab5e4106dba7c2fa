// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestPluginOutage_podsAreUnpreparedLater(t *testing.T) {
	ns := env.Namespace(t)
	var spaces []framework.Space
	for _, name := range []string{"waits", "forced"} {
		spaces = append(spaces, env.Use(t, ns, framework.NewClaim(name), framework.NewPod(name, name)))
	}
	waits := framework.Await(t, framework.Pod(env.Client, ns, "waits"), framework.PodReady())
	comeBack := sendPluginAway(t)

	env.Kubectl(t, "delete", "pod", "waits", "-n", ns, "--wait=false")
	if err := env.ForceDelete(t.Context(), ns, "forced"); err != nil {
		t.Fatal(err)
	}
	// The space of a force-deleted pod is deprovisioned without the plugin.
	env.AwaitNamespaceGone(t, spaces[1].Namespace)
	awaitContainerGone(t, waits)
	framework.Await(t, framework.Pod(env.Client, ns, "waits"), framework.That("kept until it is unprepared", func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil
	}))
	if len(env.TracesOf(t, spaces[0].Claim)) == 0 {
		t.Error("the claim has been unprepared without the plugin: this test shows nothing")
	}

	comeBack()
	framework.AwaitGone[*corev1.Pod](t, framework.Pod(env.Client, ns, "waits"))
	env.AwaitNamespaceGone(t, spaces[0].Namespace)
	for _, s := range spaces {
		env.AwaitNoTraceOf(t, s.Claim)
	}
	env.AwaitHealthy(t)
}

// sendPluginAway makes the DaemonSet fit no node, until the returned function has
// been called.
func sendPluginAway(t *testing.T) (comeBack func()) {
	t.Helper()
	patch := func(value string) {
		selector := `{"spec":{"template":{"spec":{"nodeSelector":{"example.com/no-such-node":` + value + `}}}}}`
		if out, err := env.TryKubectl(context.Background(), "patch", "daemonset", framework.PluginName, "-n", framework.DriverNamespace, "--type=merge", "-p", selector); err != nil {
			t.Errorf("change the node selector of the plugin: %v: %s", err, out)
		}
	}
	patch(`"true"`)
	comeBack = sync.OnceFunc(func() { patch("null") })
	t.Cleanup(comeBack)
	env.Kubectl(t, "wait", "-n", framework.DriverNamespace, "--for=delete", "pod", "-l", framework.PluginPods, "--timeout="+framework.Patience.String())
	return comeBack
}

// awaitContainerGone waits until the pod's container has ended. The kubelet does
// not tell the API server so while it can't unprepare the pod's claims.
func awaitContainerGone(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	framework.Eventually(t, "container "+id+" of pod "+pod.Name+" to end", func(ctx context.Context) error {
		// A task that ends while it is being listed makes that fail.
		tasks, err := framework.OnNode(ctx, env.NodeOf(t, pod), "ctr", "--namespace=k8s.io", "tasks", "ls")
		if err == nil && strings.Contains(tasks, id) {
			err = fmt.Errorf("there are: %s", tasks)
		}
		return err
	})
}

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
	for _, name := range []string{"graceful", "forced"} {
		spaces = append(spaces, env.Use(t, ns, framework.NewClaim(name), framework.NewPod(name, name)))
	}
	graceful := framework.Await(t, framework.Pod(env.Client, ns, "graceful"), framework.PodReady())
	restore := stopPlugins(t)

	env.Kubectl(t, "delete", "pod", "graceful", "-n", ns, "--wait=false")
	if err := env.ForceDelete(t.Context(), ns, "forced"); err != nil {
		t.Fatal(err)
	}
	// The space of a force-deleted pod is deprovisioned without the kubelet plugin.
	env.AwaitNamespaceDeleted(t, spaces[1].Namespace)
	awaitContainerExit(t, graceful)
	framework.Await(t, framework.Pod(env.Client, ns, "graceful"), framework.That("terminating until its claim is unprepared", func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil
	}))
	if len(env.FilesOf(t, spaces[0].Claim)) == 0 {
		t.Error("the claim was unprepared without the kubelet plugin")
	}

	restore()
	framework.AwaitDeleted[*corev1.Pod](t, framework.Pod(env.Client, ns, "graceful"))
	env.AwaitNamespaceDeleted(t, spaces[0].Namespace)
	for _, s := range spaces {
		env.AwaitNoFilesOf(t, s.Claim)
	}
	env.AwaitHealthy(t)
}

// stopPlugins changes the DaemonSet so that it has no pods, until restore is called.
func stopPlugins(t *testing.T) (restore func()) {
	t.Helper()
	patch := func(value string) {
		selector := `{"spec":{"template":{"spec":{"nodeSelector":{"example.com/no-such-node":` + value + `}}}}}`
		if out, err := env.TryKubectl(context.Background(), "patch", "daemonset", framework.PluginName, "-n", framework.DriverNamespace, "--type=merge", "-p", selector); err != nil {
			t.Errorf("change the node selector of the kubelet plugin: %v: %s", err, out)
		}
	}
	patch(`"true"`)
	restore = sync.OnceFunc(func() { patch("null") })
	t.Cleanup(restore)
	env.Kubectl(t, "wait", "-n", framework.DriverNamespace, "--for=delete", "pod", "-l", framework.PluginPods, "--timeout="+framework.Timeout.String())
	return restore
}

// awaitContainerExit waits until the pod's container has terminated. The kubelet does not report this to
// the API server before it has unprepared the pod's claims.
func awaitContainerExit(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	framework.Eventually(t, "container "+id+" of pod "+pod.Name+" to terminate", func(ctx context.Context) error {
		// The list fails if a task exits meanwhile.
		tasks, err := framework.OnNode(ctx, env.NodeOf(t, pod), "ctr", "--namespace=k8s.io", "tasks", "ls")
		if err == nil && strings.Contains(tasks, id) {
			err = fmt.Errorf("the tasks are: %s", tasks)
		}
		return err
	})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestDrain_keepsTheSpaceOfAHolder drains each node while the example runs.
func TestDrain_keepsTheSpaceOfAHolder(t *testing.T) {
	const ns = "example-holder"
	env.Kubectl(t, "apply", "-f", filepath.Join(framework.Root(), "demo/examples/holder/example.yaml"))
	t.Cleanup(func() {
		if out, err := env.TryKubectl(context.Background(), "delete", "namespace", ns, "--ignore-not-found"); err != nil {
			t.Errorf("delete the example: %v: %s", err, out)
		}
	})
	timeout := "--timeout=" + framework.Timeout.String()
	available := func() {
		t.Helper()
		env.Kubectl(t, "wait", "--for=condition=Available", "-n", ns, "deployment/holder", "deployment/app", timeout)
	}
	available()
	space := framework.SpaceStatus(t, framework.Await(t, framework.Claim(env.Client, ns, "preview"), framework.SpacesReady(1)), 0).Namespace
	env.Kubectl(t, "create", "configmap", "keep", "-n", space)

	for _, node := range env.Cluster.Nodes() {
		t.Cleanup(func() { _, _ = env.TryKubectl(context.Background(), "uncordon", node.Name()) })
		// The drain also evicts the driver's pods.
		env.Kubectl(t, "drain", node.Name(), "--ignore-daemonsets", "--delete-emptydir-data", "--force", timeout)
		env.Kubectl(t, "uncordon", node.Name())
		// The PodDisruptionBudget makes the next drain wait for both holders.
		available()
	}
	claim := framework.Await(t, framework.Claim(env.Client, ns, "preview"), framework.SpacesReady(1))
	if now := framework.SpaceStatus(t, claim, 0).Namespace; now != space {
		t.Errorf("the claim has namespace %s, want %s", now, space)
	}
	env.Kubectl(t, "get", "configmap", "keep", "-n", space)
	env.Kubectl(t, "delete", "namespace", ns)
	framework.AwaitDeleted[*corev1.Namespace](t, framework.Namespace(env.Client, space))
	env.AwaitHealthy(t)
}

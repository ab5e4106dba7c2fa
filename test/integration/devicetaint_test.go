// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestDeviceTaintRule_drainsAPoolInKubernetes136 enables DeviceTaintRules as the example says for Kubernetes
// 1.36. Newer versions serve the older API, too.
func TestDeviceTaintRule_drainsAPoolInKubernetes136(t *testing.T) {
	t.Parallel()
	env.Requires(t, "1.36", "a DeviceTaintRule")
	e := schedulingCluster(t, "space-taint", map[string]bool{"DRADeviceTaintRules": true}, "--runtime-config=resource.k8s.io/v1beta2=true")
	startController(t, e, poolsFile(t, "- {name: example-device-taint}"))

	ns := e.Namespace(t)
	start := func(name string) {
		t.Helper()
		e.CreateClaim(t, ns, framework.NewClaim(name))
		pod := framework.NewPod(name, name)
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} // there is no kubelet
		e.StartPod(t, ns, pod)
	}
	start("evicted")
	framework.Await(t, framework.Claim(e.Client, ns, "evicted"), framework.SpacesReady(1))
	e.Kubectl(t, "apply", "--filename="+filepath.Join(framework.Root(), "demo/examples/device-taint/taint-v1beta2.yaml"))
	framework.Await(t, framework.Pod(e.Client, ns, "evicted"), framework.That("evicted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }))
	start("waits")
	framework.Await(t, framework.Pod(e.Client, ns, "waits"), framework.That("unschedulable", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
				return true
			}
		}
		return false
	}))
	for _, pod := range []string{"evicted", "waits"} {
		if err := e.ForceDelete(t.Context(), ns, pod); err != nil {
			t.Fatal(err)
		}
	}
}

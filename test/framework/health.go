// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// Node names a Node.
func Node(c kubernetes.Interface, name string) Object {
	return Object{c.CoreV1().RESTClient(), "nodes", "", name}
}

// NodeReady matches a Node to which the scheduler can bind pods.
func NodeReady() Predicate[*corev1.Node] {
	return That("ready, and without taints", func(n *corev1.Node) bool {
		return len(n.Spec.Taints) == 0 && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
}

// AwaitHealthy waits until all nodes are ready and the driver is available. Tests that disturb the
// cluster call it at their end.
func (e *Env) AwaitHealthy(t testing.TB) {
	t.Helper()
	nodes := e.Cluster.Nodes()
	for _, n := range nodes {
		Await(t, Node(e.Client, n.Name()), NodeReady())
	}
	plugin := Object{e.Client.AppsV1().RESTClient(), "daemonsets", DriverNamespace, PluginName}
	Await(t, plugin, That(fmt.Sprintf("scheduled on %d nodes", len(nodes)), func(d *appsv1.DaemonSet) bool {
		return int(d.Status.DesiredNumberScheduled) == len(nodes) && int(d.Status.CurrentNumberScheduled) == len(nodes)
	}))
	if err := e.AwaitRollout(t.Context()); err != nil {
		t.Fatal(err)
	}
}

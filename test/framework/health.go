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
	"k8s.io/utils/ptr"
)

// Node names a Node.
func Node(c kubernetes.Interface, name string) Object {
	return Object{c.CoreV1().RESTClient(), "nodes", "", name}
}

// DaemonSet names a DaemonSet.
func DaemonSet(c kubernetes.Interface, namespace, name string) Object {
	return Object{c.AppsV1().RESTClient(), "daemonsets", namespace, name}
}

// Deployment names a Deployment.
func Deployment(c kubernetes.Interface, namespace, name string) Object {
	return Object{c.AppsV1().RESTClient(), "deployments", namespace, name}
}

// NodeReady is a node that takes pods.
func NodeReady() Predicate[*corev1.Node] {
	return That("ready, and without taints", func(n *corev1.Node) bool {
		return len(n.Spec.Taints) == 0 && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
}

// AwaitHealthy waits until all nodes take pods and the driver is available. A test
// that broke something ends with it, so that later tests do not depend on it.
func (e *Env) AwaitHealthy(t testing.TB) {
	t.Helper()
	nodes := e.Cluster.Nodes()
	for _, n := range nodes {
		Await(t, Node(e.Client, n.Name()), NodeReady())
	}
	Await(t, DaemonSet(e.Client, DriverNamespace, PluginName), That(fmt.Sprintf("available on %d nodes", len(nodes)), func(d *appsv1.DaemonSet) bool {
		s := d.Status
		return s.ObservedGeneration == d.Generation && int(s.DesiredNumberScheduled) == len(nodes) && int(s.CurrentNumberScheduled) == len(nodes) &&
			int(s.UpdatedNumberScheduled) == len(nodes) && int(s.NumberAvailable) == len(nodes)
	}))
	Await(t, Deployment(e.Client, DriverNamespace, ControllerName), That("available in full", func(d *appsv1.Deployment) bool {
		s, want := d.Status, ptr.Deref(d.Spec.Replicas, 1)
		return s.ObservedGeneration == d.Generation && s.Replicas == want && s.UpdatedReplicas == want && s.AvailableReplicas == want
	}))
}

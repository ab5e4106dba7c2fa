// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// stages is how kwok treats nodes and pods. It does nothing of its own accord.
//
//go:embed kwok.yaml
var stages []byte

// leaseSeconds is how long a simulated node's lease holds. A kubelet's holds 40 s. As
// kubelets do, kwok renews it four times as often, and all of that is on this machine.
const leaseSeconds = 400

// patientWithNodes is how kube-controller-manager has to be started for such leases,
// and to take note of nodes as fast as they are made.
func patientWithNodes() []string {
	return []string{"--node-monitor-grace-period=15m", "--kube-api-qps=200", "--kube-api-burst=300"}
}

// withSimulation has kwok play the kubelets of all nodes.
func withSimulation(env *framework.Env, do func() error) (err error) {
	dir, err := os.MkdirTemp("", "space-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	config := filepath.Join(dir, "kwok.yaml")
	if err := os.WriteFile(config, stages, 0o600); err != nil {
		return err
	}
	kwok, err := launch(framework.Binary("kwok"), "--kubeconfig="+env.Cluster.Kubeconfig(), "--config="+config,
		"--manage-all-nodes=true", fmt.Sprintf("--node-lease-duration-seconds=%d", leaseSeconds))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kwok.end()) }()
	if err := do(); err != nil {
		return fmt.Errorf("%w\nkwok's log: %s", err, tail(kwok.log.String()))
	}
	return nil
}

// simulatedNode is for kwok to play.
func simulatedNode(i int) *corev1.Node {
	name := fmt.Sprintf("simulated-%04d", i)
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
}

// standingPod has been on a node for long, as far as anybody can tell.
func standingPod(node string, i int) *corev1.Pod {
	pod := framework.NewPod(fmt.Sprintf("%s-%d", node, i))
	pod.Spec.NodeName = node
	pod.Spec.AutomountServiceAccountToken = ptr.To(false)
	return pod
}

// addNodes makes nodes with pods on them, of which there are from already.
func (m *manyNodes) addNodes(ctx context.Context, from, to int) error {
	nodes, pods := m.env.Client.CoreV1().Nodes(), m.env.Client.CoreV1().Pods(metav1.NamespaceDefault)
	if err := each(ctx, to-from, m.Parallel, func(ctx context.Context, i int) error {
		node, err := nodes.Create(ctx, simulatedNode(from+i), metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("make a node: %w", err)
		}
		for i := range podsOnNode {
			if _, err := pods.Create(ctx, standingPod(node.Name, i), metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("make a pod on node %s: %w", node.Name, err)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := m.sight.await(ctx, func() string { return unfit(m.sight.nodes.List(), to) }); err != nil {
		return err
	}
	return m.sight.await(ctx, func() string { return waiting(m.sight.pods.List(), to*podsOnNode) })
}

// unfit says what is wrong with nodes that are to be so many and to take pods, or nothing.
func unfit(nodes []any, n int) string {
	if len(nodes) != n {
		return fmt.Sprintf("%d nodes in place of %d", len(nodes), n)
	}
	for _, object := range nodes {
		node := object.(*corev1.Node)
		ready := false
		for _, condition := range node.Status.Conditions {
			ready = ready || condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
		}
		if !ready || len(node.Spec.Taints) > 0 {
			return fmt.Sprintf("node %s takes no pods: Ready is %t, taints are %v", node.Name, ready, node.Spec.Taints)
		}
	}
	return ""
}

// waiting says what is wrong with pods of which so many are to run, or nothing.
func waiting(pods []any, n int) string {
	running := 0
	for _, object := range pods {
		if object.(*corev1.Pod).Status.Phase == corev1.PodRunning {
			running++
		}
	}
	if running < n {
		return fmt.Sprintf("%d pods run in place of %d", running, n)
	}
	return ""
}

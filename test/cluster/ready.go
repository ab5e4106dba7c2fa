// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const readyTimeout = 2 * time.Minute

// waitReady waits until pods can be created and run.
func (c *Cluster) waitReady(ctx context.Context) error {
	config, err := c.RESTConfig()
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connecting to cluster %s: %w", c.rec.Name, err)
	}
	return waitFor(ctx, readyTimeout, "cluster "+c.rec.Name+" to be ready", func(ctx context.Context) error {
		if _, err := clients.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
			return fmt.Errorf("API server: %w", err)
		}
		if err := c.nodesReady(ctx, clients); err != nil {
			return err
		}
		_, err := clients.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func (c *Cluster) nodesReady(ctx context.Context, clients kubernetes.Interface) error {
	nodes, err := clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	byName := map[string]*corev1.Node{}
	for i := range nodes.Items {
		byName[nodes.Items[i].Name] = &nodes.Items[i]
	}
	for _, n := range c.nodes {
		node := byName[n.Name()]
		if node == nil {
			return fmt.Errorf("node %s has not registered", n.Name())
		}
		if err := nodeReady(node); err != nil {
			return err
		}
	}
	return nil
}

// nodeReady says why pods wouldn't run on a node.
func nodeReady(node *corev1.Node) error {
	for _, t := range node.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule {
			return fmt.Errorf("node %s has the taint %s", node.Name, t.Key)
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("node %s is not ready: %s: %s", node.Name, condition.Reason, condition.Message)
	}
	return fmt.Errorf("node %s has no status", node.Name)
}

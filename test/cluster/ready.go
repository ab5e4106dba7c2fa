// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"slices"
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
		return fmt.Errorf("connect to cluster %s: %w", c.rec.Name, err)
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

// nodesReady returns an error unless pods can run on all nodes.
func (c *Cluster) nodesReady(ctx context.Context, clients kubernetes.Interface) error {
	for _, n := range c.nodes {
		node, err := clients.CoreV1().Nodes().Get(ctx, n.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, t := range node.Spec.Taints {
			if t.Effect != corev1.TaintEffectPreferNoSchedule {
				return fmt.Errorf("node %s has the taint %s", node.Name, t.Key)
			}
		}
		if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			return fmt.Errorf("node %s is not ready: %+v", node.Name, node.Status.Conditions)
		}
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
)

// CreateControlPlane starts a control plane without nodes.
func CreateControlPlane(ctx context.Context, name string, gates map[string]bool) (*cluster.Cluster, error) {
	return createCluster(ctx, name, func(cfg *cluster.Config) { cfg.Nodes, cfg.FeatureGates = 0, gates })
}

// createCluster creates a cluster in place of the one that an interrupted run may have left.
func createCluster(ctx context.Context, name string, configure func(*cluster.Config)) (*cluster.Cluster, error) {
	cfg := cluster.DefaultConfig()
	cfg.Name = name
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, name+".kubeconfig")
	cfg.Log = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	configure(&cfg)
	if err := cluster.Delete(ctx, cfg); err != nil {
		return nil, fmt.Errorf("delete the cluster of an earlier run: %w", err)
	}
	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("create the cluster: %w", err)
	}
	return c, nil
}

// PrepareForController creates what the chart creates for the controller, and
// waits until a new cluster has all that the controller reads: the rules of
// the aggregated ClusterRoles, and the CA's certificate.
func (e *Env) PrepareForController(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: DriverNamespace}}
	if _, err := e.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the controller's namespace: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for _, name := range []string{"admin", "edit", "view"} {
		role := Object{e.Client.RbacV1().RESTClient(), "clusterroles", "", name}
		if _, err := Until(ctx, role, That("with rules", func(r *rbacv1.ClusterRole) bool { return len(r.Rules) > 0 })); err != nil {
			return err
		}
	}
	ca := Object{e.Client.CoreV1().RESTClient(), "configmaps", DriverNamespace, spaceapi.RootCAName}
	_, err := Until(ctx, ca, That("there", func(*corev1.ConfigMap) bool { return true }))
	return err
}

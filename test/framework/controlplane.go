// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
)

// RunOnControlPlane creates a control plane without nodes, sets env to it, runs the tests of a
// package, and exits. If prepare is not nil, it calls it before the tests, and what it returned after
// them.
func RunOnControlPlane(m *testing.M, name string, env **Env, prepare func(context.Context) (end func() error, err error)) {
	code, err := runOnControlPlane(m, name, env, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		code = 1
	}
	os.Exit(code)
}

func runOnControlPlane(m *testing.M, name string, env **Env, prepare func(context.Context) (func() error, error)) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// On a busy machine, policies evaluate the largest objects for longer than the default of a minute.
	if *env, err = NewControlPlane(ctx, name, nil, "--request-timeout=2m"); err != nil {
		return 1, err
	}
	defer func() {
		err = errors.Join(err, (*env).Cluster.Delete(context.WithoutCancel(ctx)))
	}()
	if prepare != nil {
		end, prepareErr := prepare(ctx)
		if prepareErr != nil {
			return 1, prepareErr
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	return m.Run(), nil
}

// NewControlPlane starts a control plane without nodes, with feature gates and flags of its API
// server, and prepares it for the controller. The caller deletes its cluster.
func NewControlPlane(ctx context.Context, name string, gates map[string]bool, apiServer ...string) (*Env, error) {
	c, err := createCluster(ctx, name, func(cfg *cluster.Config) {
		cfg.Nodes, cfg.FeatureGates, cfg.APIServerFlags = 0, gates, apiServer
	})
	if err != nil {
		return nil, err
	}
	e, err := NewEnv(c)
	if err == nil {
		err = e.PrepareForController(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Delete(context.WithoutCancel(ctx)))
	}
	return e, nil
}

// createCluster creates a cluster. It first deletes the one of an interrupted run.
func createCluster(ctx context.Context, name string, configure func(*cluster.Config)) (*cluster.Cluster, error) {
	cfg := cluster.DefaultConfig()
	cfg.Name = name
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, name+".kubeconfig")
	cfg.Log = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	configure(&cfg)
	if err := cluster.Delete(ctx, cfg); err != nil {
		return nil, fmt.Errorf("delete the cluster of a previous run: %w", err)
	}
	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("create the cluster: %w", err)
	}
	return c, nil
}

// PrepareForController creates the controller's namespace, and waits until a new cluster has what the
// controller reads: the rules of the aggregated ClusterRoles, and the CA certificate.
func (e *Env) PrepareForController(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: DriverNamespace}}
	if _, err := e.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the controller's namespace: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	for _, name := range []string{"admin", "edit", "view"} {
		role := Object{e.Client.RbacV1().RESTClient(), "clusterroles", "", name}
		if _, err := Until(ctx, role, That("with rules", func(r *rbacv1.ClusterRole) bool { return len(r.Rules) > 0 })); err != nil {
			return err
		}
	}
	ca := Object{e.Client.CoreV1().RESTClient(), "configmaps", DriverNamespace, spaceapi.RootCAName}
	_, err := Until(ctx, ca, That("created", func(*corev1.ConfigMap) bool { return true }))
	return err
}

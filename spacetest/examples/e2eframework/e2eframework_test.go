// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2eframework has a suite of sigs.k8s.io/e2e-framework. Each of its tests has a space of its own.
package e2eframework

import (
	"context"
	"os"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient"
	"sigs.k8s.io/e2e-framework/klient/wait"
	"sigs.k8s.io/e2e-framework/klient/wait/conditions"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/space-dra/space-dra-driver/spacetest"
)

var suite = env.New()

func TestMain(m *testing.M) {
	// In place of envfuncs.CreateNamespace.
	suite.BeforeEachTest(func(ctx context.Context, cfg *envconf.Config, t *testing.T) (context.Context, error) {
		s := spacetest.New(t)
		client, err := klient.New(s.Config)
		if err != nil {
			return ctx, err
		}
		cfg.WithClient(client).WithNamespace(s.Namespace)
		return ctx, nil
	})
	os.Exit(suite.Run(m))
}

func TestDeployment_becomesAvailable(t *testing.T) {
	suite.Test(t, features.New("deployment").
		Setup(func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
			labels := map[string]string{"app": "web"}
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: cfg.Namespace(), Name: "web"}}
			deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
			deployment.Spec.Template.Labels = labels
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{
				// The image of the demo.
				Name: "web", Image: "registry.example.com/space-dra-driver/toolbox:v0.1.0", Command: []string{"httpd", "-f", "-p", "8080"},
			}}
			if err := cfg.Client().Resources().Create(ctx, deployment); err != nil {
				t.Fatal(err)
			}
			return ctx
		}).
		Assess("available", func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
			available := conditions.New(cfg.Client().Resources()).DeploymentAvailable("web", cfg.Namespace())
			if err := wait.For(available, wait.WithContext(ctx)); err != nil {
				t.Error(err)
			}
			return ctx
		}).
		Feature())
}

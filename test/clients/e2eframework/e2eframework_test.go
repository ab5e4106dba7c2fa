// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2eframework is a suite of sigs.k8s.io/e2e-framework that creates no namespace. test/clients runs it in spaces.
package e2eframework

import (
	"context"
	"os"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/wait"
	"sigs.k8s.io/e2e-framework/klient/wait/conditions"
	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"
)

// suite has the flags of e2e-framework.
var suite env.Environment

func TestMain(m *testing.M) {
	var err error
	if suite, err = env.NewFromFlags(); err != nil {
		panic(err)
	}
	os.Exit(suite.Run(m))
}

func TestDeployment_becomesAvailable(t *testing.T) {
	labels := map[string]string{"app": "e2e-framework"}
	newDeployment := func(cfg *envconf.Config) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: cfg.Namespace(), Name: "e2e-framework"},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "pause", Image: "registry.example.com/space-dra-driver/pause:v0.1.0"}}},
				},
			},
		}
	}
	suite.Test(t, features.New("deployment").
		Setup(func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
			if err := cfg.Client().Resources().Create(ctx, newDeployment(cfg)); err != nil {
				t.Fatal(err)
			}
			return ctx
		}).
		Assess("available", func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
			available := conditions.New(cfg.Client().Resources()).DeploymentAvailable("e2e-framework", cfg.Namespace())
			if err := wait.For(available, wait.WithContext(ctx)); err != nil {
				t.Error(err)
			}
			return ctx
		}).
		Teardown(func(ctx context.Context, t *testing.T, cfg *envconf.Config) context.Context {
			if err := cfg.Client().Resources().Delete(ctx, newDeployment(cfg)); err != nil {
				t.Error(err)
			}
			return ctx
		}).
		Feature())
}

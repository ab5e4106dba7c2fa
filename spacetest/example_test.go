// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package spacetest_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/spacetest"
)

var t *testing.T // the parameter of a test

func ExampleNew() {
	s := spacetest.New(t, spacetest.Class("ci"))
	pods, err := kubernetes.NewForConfigOrDie(s.Config).CoreV1().Pods(s.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) > 0 {
		t.Errorf("a new space has pods: %v", pods.Items)
	}
}

func ExampleParameters() {
	s := spacetest.New(t, spacetest.Parameters(spaceapi.SpaceClaimConfig{ClusterRoles: []string{"view"}}))
	t.Log(s.Namespace)
}

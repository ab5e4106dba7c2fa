// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/readme"
)

// TestExamples does what the README of each example says, and looks at what is
// left afterwards.
func TestExamples(t *testing.T) {
	t.Parallel()
	root := filepath.Dir(cluster.DefaultConfig().BuildDir)
	pages, err := filepath.Glob(filepath.Join(root, "demo/examples/*/README.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("there are no examples: error %v", err)
	}
	for _, page := range pages {
		t.Run(filepath.Base(filepath.Dir(page)), func(t *testing.T) {
			t.Parallel()
			runExample(t, root, page)
		})
	}
}

func runExample(t *testing.T, root, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(filepath.Dir(path))
	page, err := readme.Parse(name+"/README.md", string(text))
	if err != nil {
		t.Fatal(err)
	}
	namespace := "example-" + name
	t.Cleanup(func() { clearExample(t, namespace) })
	reader := readme.Reader{Dir: root, Env: append(os.Environ(),
		"KUBECONFIG="+env.Cluster.Kubeconfig(),
		"PATH="+filepath.Dir(env.Cluster.Binary("kubectl"))+":"+os.Getenv("PATH"),
	)}
	ctx, cancel := context.WithTimeout(t.Context(), 2*framework.Patience)
	defer cancel()
	if err := reader.Follow(ctx, page); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, namespace)
}

// nothingLeft looks at what is there when the last command of an example has
// ended; the example is to have waited for its end itself.
func nothingLeft(t *testing.T, namespace string) {
	t.Helper()
	if _, err := env.Client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("namespace %s should be gone, but: error %v", namespace, err)
	}
	claims, err := env.Client.ResourceV1().ResourceClaims(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, claim := range claims.Items {
		t.Errorf("ResourceClaim %s/%s is left", namespace, claim.Name)
	}
	spaces, err := env.Spaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, space := range spaces {
		if space.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).ClaimNamespace] == namespace {
			t.Errorf("space %s is left: %s since %v", space.Name, space.Status.Phase, space.DeletionTimestamp)
		}
	}
}

// clearExample says what happened in an example that failed, and takes it away.
func clearExample(t *testing.T, namespace string) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	env.Diagnose(ctx, t, namespace)
	err := env.Client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("delete the example's namespace: %v", err)
	}
}

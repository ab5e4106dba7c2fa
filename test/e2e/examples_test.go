// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/readme"
)

// examples is where they are; the driver is installed with the values.yaml there.
const examples = "demo/examples"

// The README of each example runs as printed, and leaves nothing behind.
func TestExamples(t *testing.T) {
	t.Parallel()
	root := filepath.Dir(cluster.DefaultConfig().BuildDir)
	entries, err := os.ReadDir(filepath.Join(root, examples))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		found = true
		t.Run(entry.Name(), func(t *testing.T) {
			t.Parallel()
			namespace := "example-" + entry.Name()
			t.Cleanup(func() { clearExample(t, namespace) })
			runREADME(t, root, filepath.Join(examples, entry.Name(), "README.md"))
			nothingLeft(t, namespace)
		})
	}
	if !found {
		t.Error("there are no examples")
	}
}

// The examples' own page installs what they need, here once more.
func TestExamples_installationWorks(t *testing.T) {
	runREADME(t, filepath.Dir(cluster.DefaultConfig().BuildDir), filepath.Join(examples, "README.md"))
	if err := env.AwaitRollout(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var timeouts = regexp.MustCompile(`--timeout=[0-9]+m`)

// runREADME runs the commands of a README.
func runREADME(t *testing.T, root, path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine takes longer.
	page, err := readme.Parse(path, timeouts.ReplaceAllString(string(text), "--timeout="+framework.Patience.String()))
	if err != nil {
		t.Fatal(err)
	}
	runner := readme.Runner{Dir: root, Timeout: framework.Patience, Env: append(os.Environ(),
		"KUBECONFIG="+env.Cluster.Kubeconfig(),
		"PATH="+strings.Join([]string{filepath.Dir(env.Cluster.Binary("kubectl")), filepath.Dir(env.Cluster.Binary("helm")), os.Getenv("PATH")}, ":"),
	)}
	ctx, cancel := context.WithTimeout(t.Context(), 3*framework.Patience)
	defer cancel()
	if err := runner.Run(ctx, page); err != nil {
		t.Fatal(err)
	}
}

// nothingLeft checks what exists when the last command of an example has
// ended; the example waits for the deletion itself.
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
	// No example waits for the spaces of allocations that the scheduler took back.
	var left []string
	if err := wait.PollUntilContextTimeout(t.Context(), time.Second, framework.Patience, true, func(ctx context.Context) (bool, error) {
		spaces, err := env.Spaces(ctx)
		left = nil
		for _, space := range spaces {
			if space.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).ClaimNamespace] == namespace {
				left = append(left, fmt.Sprintf("%s, %s since %v", space.Name, space.Status.Phase, space.DeletionTimestamp))
			}
		}
		return err == nil && len(left) == 0, nil
	}); err != nil {
		t.Errorf("spaces are left: %v", left)
	}
}

// clearExample logs what happened in an example that failed, and deletes it.
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

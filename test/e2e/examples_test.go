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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/framework/readme"
)

// examples is the directory of the examples. The driver is installed with its values.yaml.
const examples = "demo/examples"

// TestExamples_runAsTheirReadmesPrint runs the commands of each README, and checks that all spaces are
// deleted.
func TestExamples_runAsTheirReadmesPrint(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(framework.Root(), examples, "*/README.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no examples (error: %v)", err)
	}
	for _, page := range pages {
		name := filepath.Base(filepath.Dir(page))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() { cleanUpExample(t, "example-"+name) })
			runREADME(t, filepath.Join(examples, name, "README.md"))
			checkNothingRemains(t, "example-"+name)
		})
	}
}

// TestExamples_installationWorks runs the page that installs what the examples need.
func TestExamples_installationWorks(t *testing.T) {
	runREADME(t, filepath.Join(examples, "README.md"))
	if err := env.AwaitRollout(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var (
	timeouts = regexp.MustCompile(`--timeout=[0-9]+m`)
	needs    = regexp.MustCompile(`example needs Kubernetes ([0-9.]*[0-9])`)
)

// runREADME runs the commands of a README.
func runREADME(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(framework.Root(), path))
	if err != nil {
		t.Fatal(err)
	}
	if version := needs.FindSubmatch(text); version != nil {
		env.Requires(t, string(version[1]), "this example")
	}
	// A busy machine takes longer.
	page, err := readme.Parse(path, timeouts.ReplaceAllString(string(text), "--timeout="+framework.Timeout.String()))
	if err != nil {
		t.Fatal(err)
	}
	runner := readme.Runner{Dir: framework.Root(), Timeout: framework.Timeout, Env: append(os.Environ(),
		"KUBECONFIG="+env.Cluster.Kubeconfig(),
		"PATH="+strings.Join([]string{filepath.Dir(env.Cluster.Binary("kubectl")), filepath.Dir(env.Cluster.Binary("helm")), os.Getenv("PATH")}, ":"),
	)}
	ctx, cancel := context.WithTimeout(t.Context(), 3*framework.Timeout)
	defer cancel()
	if err := runner.Run(ctx, page); err != nil {
		t.Fatal(err)
	}
}

// checkNothingRemains checks that the last command of an example has waited for the deletion of its
// namespace, and that all its spaces are deleted.
func checkNothingRemains(t *testing.T, namespace string) {
	t.Helper()
	if _, err := env.Client.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("namespace %s still exists (error: %v)", namespace, err)
	}
	// Examples do not wait for the spaces of allocations that the scheduler deallocated.
	framework.Eventually(t, "all spaces to be deleted", func(ctx context.Context) error {
		spaces, err := env.Spaces(ctx)
		for _, space := range spaces {
			if space.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).ClaimNamespace] == namespace {
				err = fmt.Errorf("%s is %s since %v", space.Name, space.Status.Phase, space.DeletionTimestamp)
			}
		}
		return err
	})
}

// cleanUpExample logs the objects and events of a failed example, and deletes its namespace.
func cleanUpExample(t *testing.T, namespace string) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), framework.Timeout)
	defer cancel()
	env.Diagnose(ctx, t, namespace)
	err := env.Client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("delete the example's namespace: %v", err)
	}
}

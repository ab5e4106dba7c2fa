// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// applyChart creates what the chart's templates say for these values, or some of them, and
// returns the file with it.
func applyChart(t *testing.T, release, namespace string, values map[string]string, templates ...string) (manifest string) {
	t.Helper()
	args := []string{"template", release, filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver"), "--namespace", namespace, "--skip-tests"}
	for _, name := range templates {
		args = append(args, "--show-only", "templates/"+name)
	}
	for key, value := range values {
		args = append(args, "--set", key+"="+value)
	}
	// A control plane without nodes knows no such tool, but `make programs` built it.
	rendered, err := exec.CommandContext(t.Context(), framework.Binary("helm"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("helm %q: %v: %s", args, err, rendered)
	}
	manifest = filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(manifest, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "apply", "-f", manifest)
	return manifest
}

// releaseOf creates what the chart's templates say for these values, and returns the
// arguments of a controller that has the rights and settings which the chart gives it, and
// no other rights. Its ServiceAccount is called <release>-space-dra-driver-controller.
func releaseOf(t *testing.T, release, namespace string, values map[string]string, templates ...string) []string {
	t.Helper()
	applyChart(t, release, namespace, values, templates...)
	account, driver := release+"-space-dra-driver-controller", cmp.Or(values["driverName"], spaceapi.DefaultDriverName)
	removeSlices(t, driver)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env.WriteKubeconfigOf(t, namespace, account, kubeconfig)
	list := func(key string) string { return strings.Trim(values[key], "{}") }
	return []string{
		"--kubeconfig=" + kubeconfig, "--driver-name=" + driver, "--resourceslice-owner=" + account,
		"--leader-elect-resource-namespace=" + namespace, "--leader-elect-resource-name=" + account,
		"--allowed-cluster-roles=" + list("space.allowedClusterRoles"),
		"--cluster-wide-roles=" + list("space.clusterWideRoles"),
		"--copy-from-namespaces=" + list("space.copyFromNamespaces"),
	}
}

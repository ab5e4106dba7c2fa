// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// controllerAccount is the controller's ServiceAccount, as the chart calls it.
const controllerAccount = "contents-space-dra-driver-controller"

// applyChart makes what some of the chart's templates say for these values, and
// returns the file with it.
func applyChart(t *testing.T, release, namespace string, values map[string]string, templates ...string) (manifest string) {
	t.Helper()
	manifest = filepath.Join(t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(manifest, renderChart(t, release, namespace, values, templates...), 0o600); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "apply", "-f", manifest)
	return manifest
}

func renderChart(t *testing.T, release, namespace string, values map[string]string, templates ...string) []byte {
	t.Helper()
	args := []string{"template", release, filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver"), "--namespace", namespace}
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
	return rendered
}

// startWithRightsOfTheChart starts a controller that has the rights and settings
// which the chart gives it for these values, and no other rights.
func startWithRightsOfTheChart(t *testing.T, values map[string]string) *framework.Controller {
	t.Helper()
	applyChart(t, "contents", framework.DriverNamespace, values,
		"rbac-controller.yaml", "admission-spaces.yaml", "admission-nested.yaml", "admission-controller.yaml")

	list := func(key string) string {
		value := values[key]
		if value == "" {
			return ""
		}
		return value[1 : len(value)-1]
	}
	return framework.StartController(t, env, "--kubeconfig="+kubeconfigAs(t, controllerAccount), "--leader-elect-resource-name="+controllerAccount,
		"--allowed-cluster-roles="+list("space.allowedClusterRoles"),
		"--cluster-wide-roles="+list("space.clusterWideRoles"),
		"--copy-from-namespaces="+list("space.copyFromNamespaces"))
}

// kubeconfigAs writes a kubeconfig for a ServiceAccount of the driver's namespace, and
// returns its path.
func kubeconfigAs(t *testing.T, account string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(env.Cluster.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + framework.DriverNamespace + ":" + account
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

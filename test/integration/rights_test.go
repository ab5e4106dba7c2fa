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

// startWithRightsOfTheChart starts a controller that has the rights and settings
// which the chart gives it for these values, and no other rights.
func startWithRightsOfTheChart(t *testing.T, values map[string]string) *framework.Controller {
	t.Helper()
	args := []string{"template", "contents", filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver"),
		"--namespace", framework.DriverNamespace, "--show-only", "templates/rbac-controller.yaml", "--show-only", "templates/admission-spaces.yaml"}
	for key, value := range values {
		args = append(args, "--set", key+"="+value)
	}
	// A control plane without nodes knows no such tool, but `make programs` built it.
	rendered, err := exec.CommandContext(t.Context(), framework.Binary("helm"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("helm %q: %v: %s", args, err, rendered)
	}
	dir := t.TempDir()
	manifest := filepath.Join(dir, "rbac.yaml")
	if err := os.WriteFile(manifest, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "apply", "-f", manifest)

	config, err := clientcmd.LoadFromFile(env.Cluster.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + framework.DriverNamespace + ":" + controllerAccount
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	list := func(key string) string {
		value := values[key]
		if value == "" {
			return ""
		}
		return value[1 : len(value)-1]
	}
	return framework.StartController(t, env, "--kubeconfig="+kubeconfig, "--lease-name="+controllerAccount,
		"--device-classes=space.resource.example.com",
		"--allowed-cluster-roles="+list("space.allowedClusterRoles"),
		"--cluster-wide-roles="+list("space.clusterWideRoles"),
		"--template-namespaces="+list("space.templateNamespaces"))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestAControllerThatCantReachTheAPIServerSaysSo(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "set-cluster", "nowhere", "--server=https://127.0.0.1:1")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "set-context", "nowhere", "--cluster=nowhere")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "use-context", "nowhere")
	out, err := exec.CommandContext(t.Context(), framework.Binary("space-controller"), "--kubeconfig="+kubeconfig, "--leader-elect-resource-namespace=x", "--startup-timeout=3s").CombinedOutput()
	if err == nil {
		t.Fatalf("the controller ended without an error: %s", out)
	}
	for _, want := range []string{"the API server https://127.0.0.1:1 did not answer within 3s", "connection refused"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the log does not say %q: %s", want, out)
		}
	}
}

func TestAPluginWithoutNodeNameSaysSo(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), framework.Binary("space-kubeletplugin")).CombinedOutput()
	if err == nil {
		t.Fatalf("the plugin ended without an error: %s", out)
	}
	if want := "--node-name is required"; !strings.Contains(string(out), want) {
		t.Errorf("the log does not say %q: %s", want, out)
	}
}

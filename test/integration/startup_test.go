// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestController_reportsAnUnreachableAPIServer(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "set-cluster", "nowhere", "--server=https://127.0.0.1:1")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "set-context", "nowhere", "--cluster=nowhere")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "use-context", "nowhere")
	out, err := exec.CommandContext(t.Context(), framework.Binary("space-controller"), "--kubeconfig="+kubeconfig, "--leader-elect-resource-namespace=x", "--startup-timeout=3s").CombinedOutput()
	if err == nil {
		t.Fatalf("the controller ended without an error: %s", out)
	}
	for _, want := range []string{"https://127.0.0.1:1", "connection refused"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the log does not contain %q: %s", want, out)
		}
	}
}

// A rolling update may come at any time, and exit code 1 would look like a crash.
func TestController_stopsCleanlyDuringStartup(t *testing.T) {
	for resource, what := range map[string]string{
		"resourceclaims": "reads the claims",
		"resourceslices": "reads the ResourceSlices",
	} {
		t.Run(what, func(t *testing.T) {
			i := install(t, "ends-"+resource+".example.com")
			asked, release := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(release) })
			var once sync.Once
			i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
				if call.Resource == resource {
					once.Do(func() { close(asked) })
					<-release
				}
				return faults.Real
			})
			i.start(t)
			await(t, "the controller "+what, asked)
			i.controller.Stop(t, syscall.SIGTERM)
		})
	}
}

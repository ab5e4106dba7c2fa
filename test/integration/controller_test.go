// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// output collects what a process writes.
type output struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// controller is the shipped binary, running against an environment.
type controller struct {
	cmd *exec.Cmd
	log *output
}

func binary(name string) string {
	return filepath.Join(cluster.DefaultConfig().BuildDir, "bin", name)
}

// startController starts the controller with the rights of an administrator; what
// rights it needs is tested with the chart. It ends with the test.
func startController(t *testing.T, env *framework.Env, args ...string) *controller {
	t.Helper()
	c := &controller{log: &output{}}
	c.cmd = exec.Command(binary("space-controller"), append([]string{
		"--kubeconfig=" + env.Cluster.Kubeconfig(),
		"--lease-namespace=" + framework.DriverNamespace,
		"--v=2",
	}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start the controller (`make build` makes it): %v", err)
	}
	t.Cleanup(func() {
		c.stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the controller's log:\n%s", c.log)
		}
	})
	return c
}

// stop ends the controller with a signal. It may have ended before.
func (c *controller) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if c.cmd.ProcessState != nil {
		return
	}
	if err := c.cmd.Process.Signal(signal); err != nil {
		t.Errorf("signal the controller: %v", err)
	}
	err := c.cmd.Wait()
	if signal == syscall.SIGTERM && err != nil {
		t.Errorf("the controller, told to end: %v", err)
	}
}

func TestAControllerThatCantReachTheAPIServerSaysSo(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "set-cluster", "nowhere", "--server=https://127.0.0.1:1")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "set-context", "nowhere", "--cluster=nowhere")
	env.Kubectl(t, "config", "--kubeconfig="+kubeconfig, "use-context", "nowhere")
	out, err := exec.CommandContext(t.Context(), binary("space-controller"), "--kubeconfig="+kubeconfig, "--lease-namespace=x", "--start-timeout=3s").CombinedOutput()
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
	out, err := exec.CommandContext(t.Context(), binary("space-kubeletplugin")).CombinedOutput()
	if err == nil {
		t.Fatalf("the plugin ended without an error: %s", out)
	}
	if want := "--node-name is required"; !strings.Contains(string(out), want) {
		t.Errorf("the log does not say %q: %s", want, out)
	}
}

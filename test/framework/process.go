// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// Output collects what a process writes.
type Output struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(p)
}

// String returns all that was written so far.
func (o *Output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// Binary returns the path of one of the driver's own programs.
func Binary(name string) string {
	return filepath.Join(cluster.DefaultConfig().BuildDir, "bin", name)
}

// Controller is a process of the shipped binary, running on a cluster.
type Controller struct {
	Log *Output
	cmd *exec.Cmd
}

// NewController starts the controller with the rights of an administrator; what
// rights it needs is tested with the chart. It is not restarted, as the kubelet
// does, so it waits longer for the API server than usual. It keeps its lease
// when it is killed: tests that do so set the duration of the lease.
func NewController(env *Env, args ...string) (*Controller, error) {
	c := &Controller{Log: &Output{}}
	c.cmd = exec.Command(Binary("space-controller"), append([]string{
		"--kubeconfig=" + env.Cluster.Kubeconfig(),
		"--leader-elect-resource-namespace=" + DriverNamespace,
		"--v=2",
		"--startup-timeout=" + Patience.String(),
		"--leader-elect-lease-duration=90s", "--leader-elect-renew-deadline=60s",
	}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = c.Log, c.Log
	return c, c.cmd.Start()
}

// StartController is NewController for a test, with which the controller ends.
func StartController(t testing.TB, env *Env, args ...string) *Controller {
	t.Helper()
	c, err := NewController(env, args...)
	if err != nil {
		t.Fatalf("start the controller (`make build` makes it): %v", err)
	}
	t.Cleanup(func() {
		c.Stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the controller's log:\n%s", c.Log)
		}
	})
	return c
}

// Stop ends the controller with a signal. It may have ended before.
func (c *Controller) Stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := c.End(signal); err != nil {
		t.Errorf("the controller, after a signal: %v", err)
	}
}

// End ends the controller with a signal, and waits for it. It may have ended before. The error of
// the process is returned for SIGTERM only: other signals make it fail.
func (c *Controller) End(signal syscall.Signal) error {
	if c.cmd.ProcessState != nil {
		return nil
	}
	if err := c.cmd.Process.Signal(signal); err != nil {
		return err
	}
	if err := c.cmd.Wait(); signal == syscall.SIGTERM {
		return err
	}
	return nil
}

// PeakMemory returns the most memory that the controller, which runs, has taken so far, in
// bytes.
func (c *Controller) PeakMemory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(peak, &kib)
	return kib << 10, err
}

// Signal sends the controller a signal and does not wait for what comes of it.
func (c *Controller) Signal(signal syscall.Signal) error {
	return c.cmd.Process.Signal(signal)
}

// Wait waits until the controller has ended by itself, and returns how it did. It
// can be called once, and instead of Stop.
func (c *Controller) Wait() error { return c.cmd.Wait() }

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

// Output collects the output of a process.
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

// String returns the output so far.
func (o *Output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// Binary returns the path of one of the driver's binaries.
func Binary(name string) string {
	return filepath.Join(cluster.DefaultConfig().BuildDir, "bin", name)
}

// Controller is a process of the built controller.
type Controller struct {
	Log *Output
	cmd *exec.Cmd
}

// NewController starts the controller with an administrator's permissions, or with those of another
// kubeconfig in args. Unlike in a cluster, nothing restarts it: it waits longer for the API server than
// by default. After it is killed, its lease stays: tests that kill it set the duration of the lease.
func NewController(env *Env, args ...string) (*Controller, error) {
	c := &Controller{Log: &Output{}}
	c.cmd = exec.Command(Binary("space-controller"), append([]string{
		"--kubeconfig=" + env.Cluster.Kubeconfig(),
		"--leader-elect-resource-namespace=" + DriverNamespace,
		"--v=2",
		"--startup-timeout=" + Timeout.String(),
		"--leader-elect-lease-duration=90s", "--leader-elect-renew-deadline=60s",
	}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = c.Log, c.Log
	return c, c.cmd.Start()
}

// StartController starts the controller for one test, and stops it afterwards.
func StartController(t testing.TB, env *Env, args ...string) *Controller {
	t.Helper()
	c, err := NewController(env, args...)
	if err != nil {
		t.Fatalf("start the controller, which `make build` builds: %v", err)
	}
	t.Cleanup(func() {
		c.Stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the controller's log:\n%s", c.Log)
		}
	})
	return c
}

// Stop stops the controller with a signal. It may have exited already.
func (c *Controller) Stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := c.TryStop(signal); err != nil {
		t.Errorf("stop the controller: %v", err)
	}
}

// TryStop stops the controller with a signal, and waits for it. It may have exited already. Only for
// SIGTERM, it returns the error of the process.
func (c *Controller) TryStop(signal syscall.Signal) error {
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
func (c *Controller) PeakMemory() (int64, error) { return PeakMemory(c.cmd.Process) }

// PeakMemory returns the most memory that a process, which runs, has taken so far, in bytes.
func PeakMemory(process *os.Process) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Pid))
	if err != nil {
		return 0, err
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(peak, &kib)
	return kib << 10, err
}

// Signal sends the controller a signal, and does not wait for it.
func (c *Controller) Signal(signal syscall.Signal) error {
	return c.cmd.Process.Signal(signal)
}

// Wait waits until the controller exits without a signal, and returns its error. Call it once, instead
// of Stop.
func (c *Controller) Wait() error { return c.cmd.Wait() }

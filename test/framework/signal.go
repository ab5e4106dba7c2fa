// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"syscall"
)

// Signal sends the controller a signal and does not wait for what comes of it.
func (c *Controller) Signal(signal syscall.Signal) error {
	return c.cmd.Process.Signal(signal)
}

// Wait waits until the controller has ended by itself, and returns how it did. It
// can be called once, and instead of Stop.
func (c *Controller) Wait() error { return c.cmd.Wait() }

// Ended says whether the controller was seen to end.
func (c *Controller) Ended() bool { return c.cmd.ProcessState != nil }

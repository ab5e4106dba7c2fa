// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Client sends requests to a host's init.
type Client struct {
	socket string
}

// NewClient returns a client for the init that listens on socket.
func NewClient(socket string) *Client {
	return &Client{socket: socket}
}

// Start starts a process unless it runs already.
func (c *Client) Start(ctx context.Context, p Process) error {
	_, err := c.call(ctx, request{Op: opStart, Name: p.Name, Process: &p})
	return err
}

// Stop ends a process with SIGTERM, after the grace period with SIGKILL, and
// waits until it has gone. A process that doesn't run is no error.
func (c *Client) Stop(ctx context.Context, name string, grace time.Duration) error {
	_, err := c.call(ctx, request{Op: opStop, Name: name, Grace: grace})
	return err
}

// Signal sends a signal to a running process. With wait it returns when the
// process has gone.
func (c *Client) Signal(ctx context.Context, name string, sig syscall.Signal, wait bool) error {
	_, err := c.call(ctx, request{Op: opKill, Name: name, Signal: sig, Wait: wait})
	return err
}

// List returns every process that was started since the host was booted.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	return c.call(ctx, request{Op: opList})
}

// Probe asks the init whether url answers inside the host.
func (c *Client) Probe(ctx context.Context, url string) error {
	_, err := c.call(ctx, request{Op: opProbe, URL: url})
	return err
}

// WipeRun kills every process that the init didn't start itself, containers
// above all, and replaces /run with an empty one.
func (c *Client) WipeRun(ctx context.Context) error {
	_, err := c.call(ctx, request{Op: opWipeRun})
	return err
}

func (c *Client) call(ctx context.Context, req request) ([]Status, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, fmt.Errorf("reaching the host's init: %w", err)
	}
	defer conn.Close()
	// A cancelled context ends a call that waits for a process to go.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return nil, fmt.Errorf("sending %s to the host's init: %w", req.Op, err)
	}
	var resp response
	if err := json.NewDecoder(conn).Decode(&resp); err != nil {
		return nil, fmt.Errorf("awaiting %s %s from the host's init: %w", req.Op, req.Name, errors.Join(ctx.Err(), err))
	}
	if resp.Error != "" {
		return nil, errors.New(resp.Error)
	}
	return resp.Processes, nil
}

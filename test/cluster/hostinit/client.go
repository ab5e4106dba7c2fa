// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package hostinit

import (
	"context"
	"fmt"
	"net"
	"net/rpc/jsonrpc"
)

// Client sends requests to a host's init.
type Client struct {
	// Socket is where the init listens.
	Socket string
}

// Start starts a process unless it runs already.
func (c Client) Start(ctx context.Context, p Process) error {
	return c.call(ctx, "Start", p, &none{})
}

// Kill ends a process with SIGKILL and waits until it is gone. A process that
// doesn't run is no error.
func (c Client) Kill(ctx context.Context, name string) error {
	return c.call(ctx, "Kill", name, &none{})
}

// List returns every process that was started since the host was booted.
func (c Client) List(ctx context.Context) (all []Status, err error) {
	err = c.call(ctx, "List", none{}, &all)
	return all, err
}

// Probe asks the init whether the URL answers inside the host.
func (c Client) Probe(ctx context.Context, url string) error {
	return c.call(ctx, "Probe", url, &none{})
}

// WipeRun kills every process that the init didn't start itself, containers
// above all, and replaces /run with an empty one.
func (c Client) WipeRun(ctx context.Context) error {
	return c.call(ctx, "WipeRun", none{}, &none{})
}

func (c Client) call(ctx context.Context, method string, args, reply any) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return fmt.Errorf("reaching the host's init: %w", err)
	}
	defer conn.Close()
	call := jsonrpc.NewClient(conn).Go(serviceName+"."+method, args, reply, nil)
	select {
	case <-call.Done:
		return call.Error
	case <-ctx.Done():
		return fmt.Errorf("awaiting %s from the host's init: %w", method, ctx.Err())
	}
}

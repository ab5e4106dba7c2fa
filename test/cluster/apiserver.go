// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"

	"k8s.io/client-go/rest"
)

const (
	anotherAPIServer     = "another-" + apiServer
	anotherAPIServerPort = "6444"
)

// StartAnotherAPIServer starts a second API server on the control plane, with flags that the first
// one does not have, and returns the administrator's client configuration for it. It is for tests
// of clusters whose API servers differ, such as during an upgrade: the components and the nodes use
// the first one only. KillAnotherAPIServer ends it.
func (c *Cluster) StartAnotherAPIServer(ctx context.Context, flags ...string) (*rest.Config, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.Host = "https://" + net.JoinHostPort(c.controlPlane.Address(), anotherAPIServerPort)
	p, err := c.anotherAPIServer()
	if err != nil {
		return nil, err
	}
	// Processes are found by the paths of their programs.
	program := c.inHost(c.Binary(apiServer))
	if err := os.Symlink(program, c.controlPlane.onMachine(p.program())); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("start another API server: %w", err)
	}
	p.args = append(p.args, flags...)
	return config, c.controlPlane.start(ctx, p)
}

// KillAnotherAPIServer ends what StartAnotherAPIServer has started.
func (c *Cluster) KillAnotherAPIServer(ctx context.Context) error {
	p, err := c.anotherAPIServer()
	if err != nil {
		return err
	}
	return c.controlPlane.kill(ctx, p)
}

func (c *Cluster) anotherAPIServer() (process, error) {
	p, err := c.controlPlane.process(apiServer)
	p.name = anotherAPIServer
	// It is never ready if it does not serve a kind that it watches itself.
	p.probe = "https://127.0.0.1:" + anotherAPIServerPort + "/livez"
	p.args = append(slices.Clone(p.args), "--secure-port="+anotherAPIServerPort,
		// The Service default/kubernetes has the address of the first one.
		"--endpoint-reconciler-type=none")
	return p, err
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/node/fileops"
)

// plugin is a process of the built kubelet plugin, and a connection to it like the kubelet's.
type plugin struct {
	cmd    *exec.Cmd
	log    *framework.Output
	exited chan struct{}
	dra    drav1.DRAPluginClient
}

// startAs starts the kubelet plugin of a pod, and registers it as the kubelet does. If guard is not nil,
// it decides about the file operations of the process.
func (n *node) startAs(t *testing.T, podUID string, guard fileops.Guard) *plugin {
	t.Helper()
	p := n.launch(t, podUID, guard)
	if err := p.register(t, n.kubelet, podUID); err != nil {
		t.Fatalf("register the kubelet plugin: %v", err)
	}
	return p
}

// launch starts the kubelet plugin of a pod, and does not wait. Flags override the default ones.
func (n *node) launch(t *testing.T, podUID string, guard fileops.Guard, flags ...string) *plugin {
	t.Helper()
	p := &plugin{exited: make(chan struct{})}
	p.cmd, p.log = framework.PluginCommand(n.dir, n.name, n.kubeconfig, slices.Concat([]string{
		"--pod-uid=" + podUID, "--advertise-apiserver-url=" + env.Cluster.APIServerURL(), "--advertise-apiserver-ca-file=" + n.ca,
	}, n.arguments, flags)...)
	p.cmd.Env = append(p.cmd.Environ(), n.environment...)
	wait := p.cmd.Wait
	var err error
	if guard == nil {
		err = p.cmd.Start()
	} else {
		wait, err = fileops.Start(p.cmd, guard)
	}
	if err != nil {
		t.Fatalf("start the kubelet plugin, which `make build` builds: %v", err)
	}
	n.mutex.Lock()
	n.running = p
	n.mutex.Unlock()
	var end error
	go func() {
		defer close(p.exited)
		end = wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if guard != nil && end != nil {
			t.Errorf("not all file operations of the kubelet plugin were recorded: %v", end)
		}
		if t.Failed() {
			t.Logf("the log of the kubelet plugin:\n%s", p.log)
		}
	})
	return p
}

// register registers the kubelet plugin as the kubelet does.
func (p *plugin) register(t *testing.T, kubelet, podUID string) error {
	t.Helper()
	ctx, cancel := callContext(t)
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-p.exited:
			cancel()
		}
	}()
	registrar := registration.NewRegistrationClient(p.dial(t, filepath.Join(kubelet, "plugins_registry", spaceapi.DefaultDriverName+"-"+podUID+"-reg.sock")))
	info, err := registrar.GetInfo(ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("get the name of the kubelet plugin: %w", err)
	}
	if info.Type != registration.DRAPlugin || info.Name != spaceapi.DefaultDriverName {
		return fmt.Errorf("the kubelet plugin is %s %s", info.Type, info.Name)
	}
	if _, err := registrar.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{PluginRegistered: true}); err != nil {
		return fmt.Errorf("notify the kubelet plugin of the registration: %w", err)
	}
	p.dra = drav1.NewDRAPluginClient(p.dial(t, info.Endpoint))
	return nil
}

// dial connects to a socket as soon as a process listens.
func (p *plugin) dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	// Until the kubelet plugin has started, the socket does not exist, or is that of the previous process. A
	// connection that is accepted can wait for the process for seconds on a busy machine, as long as with gRPC by default.
	quick := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: 20 * time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// signalKill kills the process.
func (p *plugin) signalKill() { _ = p.cmd.Process.Kill() }

// kill kills the process, which may have exited, and waits for it.
func (p *plugin) kill() {
	p.signalKill()
	<-p.exited
}

// prepare calls the kubelet plugin as the kubelet does, and returns the devices of the claim.
func (p *plugin) prepare(t *testing.T, c *claim) ([]*drav1.Device, error) {
	ctx, cancel := callContext(t)
	defer cancel()
	response, err := p.dra.NodePrepareResources(ctx, &drav1.NodePrepareResourcesRequest{Claims: c.request()})
	if err != nil {
		return nil, err
	}
	result := response.Claims[string(c.UID)]
	return result.GetDevices(), responseError(result != nil, result.GetError())
}

// unprepare calls the kubelet plugin as the kubelet does.
func (p *plugin) unprepare(t *testing.T, c *claim) error {
	ctx, cancel := callContext(t)
	defer cancel()
	response, err := p.dra.NodeUnprepareResources(ctx, &drav1.NodeUnprepareResourcesRequest{Claims: c.request()})
	if err != nil {
		return err
	}
	result := response.Claims[string(c.UID)]
	return responseError(result != nil, result.GetError())
}

// responseError returns the error in a response to the kubelet.
func responseError(answered bool, text string) error {
	switch {
	case !answered:
		return errors.New("the response lacks the claim")
	case text != "":
		return errors.New(text)
	}
	return nil
}

func (c *claim) request() []*drav1.Claim {
	return []*drav1.Claim{{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)}}
}

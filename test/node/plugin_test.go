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

// plugin is a process of the shipped binary, and the kubelet's connection to it.
type plugin struct {
	cmd   *exec.Cmd
	log   *framework.Output
	ended chan struct{}
	dra   drav1.DRAPluginClient
}

// startAs starts the plugin of a pod and registers it as the kubelet does. The
// guard, if there is one, is asked about the plugin's file operations.
func (n *node) startAs(t *testing.T, podUID string, guard fileops.Guard) *plugin {
	t.Helper()
	p := n.launch(t, podUID, guard)
	if err := p.register(t, n.kubelet, podUID); err != nil {
		t.Fatalf("register the plugin: %v", err)
	}
	return p
}

// launch starts the plugin of a pod, and does not wait for anything. Flags win over
// the usual ones.
func (n *node) launch(t *testing.T, podUID string, guard fileops.Guard, flags ...string) *plugin {
	t.Helper()
	p := &plugin{ended: make(chan struct{})}
	p.cmd, p.log = framework.PluginCommand(n.dir, nodeName, n.kubeconfig, slices.Concat([]string{
		"--pod-uid=" + podUID, "--advertise-apiserver-url=" + env.Cluster.APIServerURL(), "--advertise-apiserver-ca-file=" + n.ca,
	}, n.arguments, flags)...)
	wait := p.cmd.Wait
	var err error
	if guard == nil {
		err = p.cmd.Start()
	} else {
		wait, err = fileops.Start(p.cmd, guard)
	}
	if err != nil {
		t.Fatalf("start the plugin (`make build` builds it): %v", err)
	}
	n.mutex.Lock()
	n.running = p
	n.mutex.Unlock()
	var end error
	go func() {
		defer close(p.ended)
		end = wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if guard != nil && end != nil {
			t.Errorf("not all of the plugin's file operations were seen: %v", end)
		}
		if t.Failed() {
			t.Logf("the log of a plugin:\n%s", p.log)
		}
	})
	return p
}

// register does what the kubelet does when it sees a registration socket.
func (p *plugin) register(t *testing.T, kubelet, podUID string) error {
	t.Helper()
	ctx, cancel := patience(t)
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-p.ended:
			cancel()
		}
	}()
	registrar := registration.NewRegistrationClient(p.dial(t, filepath.Join(kubelet, "plugins_registry", spaceapi.DefaultDriverName+"-"+podUID+"-reg.sock")))
	info, err := registrar.GetInfo(ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("ask who it is: %w", err)
	}
	if info.Type != registration.DRAPlugin || info.Name != spaceapi.DefaultDriverName {
		return fmt.Errorf("it says it is %s %s", info.Type, info.Name)
	}
	if _, err := registrar.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{PluginRegistered: true}); err != nil {
		return fmt.Errorf("tell it that it is registered: %w", err)
	}
	p.dra = drav1.NewDRAPluginClient(p.dial(t, info.Endpoint))
	return nil
}

// dial connects to a socket as soon as a process listens.
func (p *plugin) dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	// Until the plugin has started there is no socket, or that of its predecessor.
	quick := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// signalKill kills the process.
func (p *plugin) signalKill() { _ = p.cmd.Process.Kill() }

// kill kills the process, which may have ended, and waits for its end.
func (p *plugin) kill() {
	p.signalKill()
	<-p.ended
}

// prepare calls the plugin as the kubelet does, and returns the claim's devices.
func (p *plugin) prepare(t *testing.T, c *claim) ([]*drav1.Device, error) {
	ctx, cancel := patience(t)
	defer cancel()
	answer, err := p.dra.NodePrepareResources(ctx, &drav1.NodePrepareResourcesRequest{Claims: c.request()})
	if err != nil {
		return nil, err
	}
	result := answer.Claims[string(c.UID)]
	return result.GetDevices(), errorOf(result != nil, result.GetError())
}

// unprepare calls the plugin as the kubelet does.
func (p *plugin) unprepare(t *testing.T, c *claim) error {
	ctx, cancel := patience(t)
	defer cancel()
	answer, err := p.dra.NodeUnprepareResources(ctx, &drav1.NodeUnprepareResourcesRequest{Claims: c.request()})
	if err != nil {
		return err
	}
	result := answer.Claims[string(c.UID)]
	return errorOf(result != nil, result.GetError())
}

// errorOf is the error in an answer to the kubelet.
func errorOf(answered bool, text string) error {
	switch {
	case !answered:
		return errors.New("the answer lacks the claim")
	case text != "":
		return errors.New(text)
	}
	return nil
}

func (c *claim) request() []*drav1.Claim {
	return []*drav1.Claim{{Namespace: c.Namespace, Name: c.Name, Uid: string(c.UID)}}
}

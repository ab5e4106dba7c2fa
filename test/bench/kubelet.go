// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	resourceapi "k8s.io/api/resource/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// nodeName is the name of the Node object that tokens are bound to.
const nodeName = "bench-node"

// podUID is part of the names of the plugin's sockets.
const podUID = "bench"

// node is a Node object, directories, and the plugin's process. The benchmark acts as the
// kubelet.
type node struct {
	env    *framework.Env
	dir    string
	plugin *program
	conns  []*grpc.ClientConn
	dra    drav1.DRAPluginClient
}

// newNode creates the directories of a node without plugin.
func newNode(env *framework.Env) (*node, error) {
	// The names of sockets are limited to 108 bytes.
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	n := &node{env: env, dir: dir}
	for _, d := range []string{"plugins_registry", "plugins/" + spaceapi.DefaultDriverName} {
		if err := os.MkdirAll(filepath.Join(n.kubelet(), d), 0o750); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	return n, nil
}

func (n *node) kubelet() string { return filepath.Join(n.dir, "kubelet") }

// start starts the plugin and registers it.
func (n *node) start(ctx context.Context) (err error) {
	n.plugin, err = startProgram(ctx, framework.Binary("space-kubeletplugin"),
		"--node-name="+nodeName, "--pod-uid="+podUID, "--kubeconfig="+n.env.Cluster.Kubeconfig(),
		"--kubelet-root-dir="+n.kubelet(), "--cdi-root="+filepath.Join(n.dir, "cdi"), "--credentials-dir="+filepath.Join(n.dir, "artifacts"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	go func() {
		select {
		case <-n.plugin.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	conn, err := n.dial(filepath.Join(n.kubelet(), "plugins_registry", spaceapi.DefaultDriverName+"-"+podUID+"-reg.sock"))
	if err != nil {
		return err
	}
	registrar := registration.NewRegistrationClient(conn)
	info, err := registrar.GetInfo(ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("get the plugin's info: %w\n%s", err, tail(n.plugin.log.String()))
	}
	if _, err := registrar.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{PluginRegistered: true}); err != nil {
		return fmt.Errorf("confirm the registration to the plugin: %w", err)
	}
	if conn, err = n.dial(info.Endpoint); err != nil {
		return err
	}
	n.dra = drav1.NewDRAPluginClient(conn)
	return nil
}

// dial connects to a socket as soon as a server listens.
func (n *node) dial(socket string) (*grpc.ClientConn, error) {
	quick := backoff.Config{BaseDelay: quickly, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: time.Second}))
	if err != nil {
		return nil, fmt.Errorf("connect to the plugin: %w", err)
	}
	n.conns = append(n.conns, conn)
	return conn, nil
}

// stop stops the plugin. Claims stay prepared.
func (n *node) stop() error {
	var errs []error
	for _, conn := range n.conns {
		errs = append(errs, conn.Close())
	}
	n.conns = nil
	if n.plugin != nil {
		errs = append(errs, n.plugin.end())
	}
	return errors.Join(errs...)
}

// remove stops the plugin and removes the directories.
func (n *node) remove() error { return errors.Join(n.stop(), os.RemoveAll(n.dir)) }

// prepare calls the plugin as the kubelet does.
func (n *node) prepare(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	answer, err := n.dra.NodePrepareResources(ctx, &drav1.NodePrepareResourcesRequest{Claims: request(claim)})
	if err != nil {
		return fmt.Errorf("prepare claim %s: %w", claim.Name, err)
	}
	if result := answer.Claims[string(claim.UID)]; result == nil || result.Error != "" {
		return fmt.Errorf("prepare claim %s: the plugin answers: %v", claim.Name, result)
	}
	return nil
}

// unprepare calls the plugin as the kubelet does.
func (n *node) unprepare(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	answer, err := n.dra.NodeUnprepareResources(ctx, &drav1.NodeUnprepareResourcesRequest{Claims: request(claim)})
	if err != nil {
		return fmt.Errorf("unprepare claim %s: %w", claim.Name, err)
	}
	if result := answer.Claims[string(claim.UID)]; result == nil || result.Error != "" {
		return fmt.Errorf("unprepare claim %s: the plugin answers: %v", claim.Name, result)
	}
	return nil
}

func request(claim *resourceapi.ResourceClaim) []*drav1.Claim {
	return []*drav1.Claim{{Namespace: claim.Namespace, Name: claim.Name, Uid: string(claim.UID)}}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// settleTime is how long it may take to send the response of a call after intercept has returned it.
const settleTime = 200 * time.Millisecond

// kubeletConnection is the plugin's connection with the kubelet.
type kubeletConnection struct {
	// socket is the socket of the plugin, and registrar that of its registration.
	socket, registrar string
	// status is the last registration status that the kubelet sent, or nil. The helper's
	// copy is not safe for concurrent use.
	status atomic.Pointer[registerapi.RegistrationStatus]

	// started and ended count the kubelet's calls.
	started, ended atomic.Int64
}

// intercept stores the registration status, and counts the kubelet's calls. It is a
// grpc.UnaryServerInterceptor.
func (c *kubeletConnection) intercept(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c.started.Add(1)
	defer c.ended.Add(1)
	if status, ok := req.(*registerapi.RegistrationStatus); ok {
		c.status.Store(status)
	}
	return handler(ctx, req)
}

// drain waits until no call has been in progress for settleTime, or until ctx is done. The helper
// interrupts calls when it stops, and the kubelet retries a failed Prepare only after a minute or more
// (k8s.io/kubernetes, pkg/kubelet/pod_workers.go).
func (c *kubeletConnection) drain(ctx context.Context) error {
	if calls := c.started.Load() - c.ended.Load(); calls > 0 {
		klog.FromContext(ctx).Info("Waiting for calls of the kubelet to end before stopping", "calls", calls)
	}
	before := int64(-1)
	return wait.PollUntilContextCancel(ctx, settleTime, true, func(context.Context) (bool, error) {
		// In this order, so that a call that begins in between counts as in progress.
		ended, started := c.ended.Load(), c.started.Load()
		settled := started == ended && ended == before
		before = ended
		return settled, nil
	})
}

// checkRegistered returns an error unless the kubelet has registered the plugin. During an
// update, the old and the new plugin are registered, each by its own socket.
func (c *kubeletConnection) checkRegistered() error {
	switch status := c.status.Load(); {
	case status == nil:
		return errors.New("the kubelet has not registered the plugin yet")
	case !status.PluginRegistered:
		return fmt.Errorf("the kubelet rejected the registration of the plugin: %s", status.Error)
	}
	return nil
}

// probe calls the plugin at both of its sockets, as the kubelet does. A kubelet that restarts finds
// the plugin by the registration socket, which is created only when the process starts.
func (c *kubeletConnection) probe(ctx context.Context) error {
	return errors.Join(
		callSocket(c.registrar, func(conn *grpc.ClientConn) error {
			_, err := registerapi.NewRegistrationClient(conn).GetInfo(ctx, &registerapi.InfoRequest{})
			return err
		}),
		callSocket(c.socket, func(conn *grpc.ClientConn) error {
			_, err := drapb.NewDRAPluginClient(conn).NodePrepareResources(ctx, &drapb.NodePrepareResourcesRequest{})
			return err
		}),
	)
}

// callSocket makes a call at a socket.
func callSocket(socket string, call func(*grpc.ClientConn) error) (err error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("create a client for %s: %w", socket, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := call(conn); err != nil {
		return fmt.Errorf("call the plugin at %s: %w", socket, err)
	}
	return nil
}

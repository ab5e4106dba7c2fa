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

// settleTime is how long the answer of a call may take to be sent after intercept has
// returned it.
const settleTime = 200 * time.Millisecond

// kubeletConnection is the plugin's connection with the kubelet.
type kubeletConnection struct {
	// socket is where the plugin serves, and registrar is where the kubelet finds that
	// out.
	socket, registrar string
	// status is what the kubelet has said about the registration last, or nil.
	// The helper has it too, but not for use at the same time.
	status atomic.Pointer[registration]

	// begun and ended count the kubelet's calls.
	begun, ended atomic.Int64
}

type registration struct {
	done bool
	err  string
}

// intercept notices what the kubelet says about the registration, and counts its
// calls. It is a grpc.UnaryServerInterceptor.
func (c *kubeletConnection) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c.begun.Add(1)
	defer c.ended.Add(1)
	if status, ok := req.(*registerapi.RegistrationStatus); ok && info.FullMethod == registerapi.Registration_NotifyRegistrationStatus_FullMethodName {
		c.status.Store(&registration{status.PluginRegistered, status.Error})
	}
	return handler(ctx, req)
}

// drain waits until no call has been in progress for settleTime, or until the context
// ends. The helper interrupts calls when it stops, and the kubelet repeats a Prepare that
// failed only after a minute or more (k8s.io/kubernetes, pkg/kubelet/pod_workers.go).
func (c *kubeletConnection) drain(ctx context.Context) error {
	// settling is how many calls there had been when the last look found none in progress.
	settling, said := int64(-1), false
	err := wait.PollUntilContextCancel(ctx, settleTime, true, func(ctx context.Context) (bool, error) {
		// In this order: a call that begins in between is in progress.
		ended := c.ended.Load()
		begun := c.begun.Load()
		if begun == ended {
			settled := begun == settling
			settling = begun
			return settled, nil
		}
		settling = -1
		if !said {
			said = true
			klog.FromContext(ctx).Info("Waiting for the kubelet's calls to end before stopping", "calls", begun-ended)
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the kubelet's calls to end: %w", err)
	}
	return nil
}

// registered says why the kubelet does not know the plugin, or nil. Each plugin
// registers by a socket of its own, so during an update the old and the new one do.
func (c *kubeletConnection) registered() error {
	switch status := c.status.Load(); {
	case status == nil:
		return errors.New("the kubelet has not registered the plugin yet")
	case !status.done:
		return fmt.Errorf("the kubelet refused to register the plugin: %s", status.err)
	}
	return nil
}

// answers asks the plugin at both of its sockets, as the kubelet does: who it is, and
// to prepare no claim at all. A kubelet that starts anew, or sees that the first
// socket has gone, knows the plugin by that socket only; it is made when the process
// starts, and never again.
func (c *kubeletConnection) answers(ctx context.Context) error {
	return errors.Join(
		ask(c.registrar, func(conn *grpc.ClientConn) error {
			_, err := registerapi.NewRegistrationClient(conn).GetInfo(ctx, &registerapi.InfoRequest{})
			return err
		}),
		ask(c.socket, func(conn *grpc.ClientConn) error {
			_, err := drapb.NewDRAPluginClient(conn).NodePrepareResources(ctx, &drapb.NodePrepareResourcesRequest{})
			return err
		}),
	)
}

// ask asks something at a socket.
func ask(socket string, call func(*grpc.ClientConn) error) (err error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", socket, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := call(conn); err != nil {
		return fmt.Errorf("ask the plugin at %s: %w", socket, err)
	}
	return nil
}

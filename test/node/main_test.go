// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node runs the shipped kubelet plugin and the shipped controller against
// a real control plane. The tests play the kubelet, on a node that consists of a
// Node object and directories, and end the plugin at every step that it takes.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/node/fileops"
)

// nodeName is the name of the Node object.
const nodeName = "node-7"

// env is the control plane of this test run, and controller runs there all the time;
// TestMain sets them.
var (
	env        *framework.Env
	controller *framework.Controller
)

func TestMain(m *testing.M) {
	fileops.Main()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := framework.CreateControlPlane(ctx, "space-node", nil)
	if err != nil {
		return 1, err
	}
	defer func() {
		if deleteErr := c.Delete(context.WithoutCancel(ctx)); deleteErr != nil {
			err = errors.Join(err, fmt.Errorf("delete the control plane: %w", deleteErr))
		}
	}()
	if env, err = framework.NewEnv(c); err != nil {
		return 1, err
	}
	if err := env.PrepareForController(ctx); err != nil {
		return 1, err
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
	if _, err := env.Client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return 1, fmt.Errorf("make Node %s: %w", nodeName, err)
	}
	if controller, err = framework.NewController(env); err != nil {
		return 1, fmt.Errorf("start the controller (`make build` makes it): %w", err)
	}
	defer func() {
		if endErr := controller.End(syscall.SIGTERM); endErr != nil {
			err = errors.Join(err, fmt.Errorf("end the controller: %w: %s", endErr, controller.Log))
		}
	}()
	return m.Run(), nil
}

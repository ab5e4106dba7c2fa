// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node tests the built kubelet plugin and controller with a real control plane. The node is a
// Node object and directories. The tests make the calls of the kubelet, and kill the kubelet plugin at
// each of its steps.
package node

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// nodeName is the name of the Node object.
const nodeName = "node-7"

// env is the control plane of all tests. A controller runs during all of them.
var env *framework.Env

func TestMain(m *testing.M) {
	framework.RunOnControlPlane(m, "space-node", &env, func(ctx context.Context) (func() error, error) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
		if _, err := env.Client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("create Node %s: %w", nodeName, err)
		}
		controller, err := framework.NewController(env)
		if err != nil {
			return nil, fmt.Errorf("start the controller, which `make build` builds: %w", err)
		}
		return func() error {
			if err := controller.TryStop(syscall.SIGTERM); err != nil {
				return fmt.Errorf("stop the controller: %w: %s", err, controller.Log)
			}
			return nil
		}, nil
	})
}

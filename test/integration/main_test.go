// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration runs the shipped controller against a real control plane
// without nodes. The tests play the scheduler themselves: they allocate and
// deallocate claims, so that each step is theirs to choose.
package integration

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the control plane of this test run; TestMain sets it.
var env *framework.Env

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := framework.CreateControlPlane(ctx, "space-integration", nil)
	if err != nil {
		return 1, err
	}
	defer func() {
		if deleteErr := c.Delete(context.WithoutCancel(ctx)); deleteErr != nil && err == nil {
			err = fmt.Errorf("delete the control plane: %w", deleteErr)
		}
	}()
	if env, err = framework.NewEnv(c); err != nil {
		return 1, err
	}
	if err := env.PrepareForController(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// exists is an object that exists.
func exists[T runtime.Object]() framework.Predicate[T] {
	return framework.That("existing", func(T) bool { return true })
}

// terminating is a namespace that is being deleted.
func terminating() framework.Predicate[*corev1.Namespace] {
	return framework.That("Terminating", func(n *corev1.Namespace) bool { return n.DeletionTimestamp != nil })
}

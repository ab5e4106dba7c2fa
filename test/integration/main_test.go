// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration tests the built controller with a real control plane that has no nodes. The
// tests allocate and deallocate claims as the scheduler would, to control each step.
package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the control plane of all tests.
var env *framework.Env

func TestMain(m *testing.M) { framework.RunOnControlPlane(m, "space-integration", &env, nil) }

// terminating is a namespace that is being deleted.
func terminating() framework.Predicate[*corev1.Namespace] {
	return framework.That("Terminating", func(n *corev1.Namespace) bool { return n.DeletionTimestamp != nil })
}

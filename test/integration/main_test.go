// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package integration runs the shipped controller against a real control plane
// without nodes. The tests play the scheduler themselves: they allocate and
// deallocate claims, so that each step is theirs to choose.
package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the control plane of this test run.
var env *framework.Env

func TestMain(m *testing.M) { framework.RunOnControlPlane(m, "space-integration", &env, nil) }

// terminating is a namespace that is being deleted.
func terminating() framework.Predicate[*corev1.Namespace] {
	return framework.That("Terminating", func(n *corev1.Namespace) bool { return n.DeletionTimestamp != nil })
}

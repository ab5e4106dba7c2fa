// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package isolation tests the traffic of pods in spaces, on a cluster that enforces NetworkPolicies.
package isolation

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of all tests.
var env *framework.Env

func TestMain(m *testing.M) {
	framework.Suite{
		Cluster: "space-isolation", NetworkPolicies: true, ValueFiles: []string{"test/e2e/isolation/values.yaml"},
	}.Run(m, &env)
}

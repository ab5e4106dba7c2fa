// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the shipped images and the shipped chart on a real cluster of
// two nodes, and looks at them as a user would.
package e2e

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of this test run; TestMain sets it.
var env *framework.Env

func TestMain(m *testing.M) {
	framework.Suite{Cluster: "space-e2e", ValueFiles: []string{examples + "/values.yaml"}}.Run(m, &env)
}

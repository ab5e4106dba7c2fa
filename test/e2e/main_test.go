// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the images and the chart on a real cluster of two nodes, as a user would.
package e2e

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of all tests.
var env *framework.Env

func TestMain(m *testing.M) {
	framework.Suite{Cluster: "space-e2e", ValueFiles: []string{examples + "/values.yaml"}}.Run(m, &env)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package skew upgrades Kubernetes under spaces in use, from the version that the environment variable K8S
// selects to the newest. Kubelets are up to three minor versions older than the control plane meanwhile.
package skew

import (
	"fmt"
	"os"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of the test.
var env *framework.Env

func TestMain(m *testing.M) {
	if os.Getenv("K8S") == "" {
		fmt.Fprintln(os.Stderr, "set K8S to the version to upgrade from")
		return
	}
	framework.Suite{Cluster: "space-skew"}.Run(m, &env)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outage stops or kills components of a cluster, one after the other. It has its own cluster,
// because other tests could not run there meanwhile.
package outage

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of all tests.
var env *framework.Env

// TestMain uses the kubelet directory of MicroK8s, to test another one than the default.
func TestMain(m *testing.M) {
	framework.Suite{
		Cluster: "space-outage", KubeletDir: "/var/snap/microk8s/common/var/lib/kubelet", ValueFiles: []string{"test/e2e/outage/values.yaml"},
	}.Run(m, &env)
}

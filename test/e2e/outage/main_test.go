// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package outage breaks parts of a cluster that the driver runs on, one
// after the other. It has a cluster of its own, because no other test could run on
// it meanwhile, and most of its time is waiting.
package outage

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// env is the cluster of this test run; TestMain sets it.
var env *framework.Env

// The kubelets are where MicroK8s has them, so that all of this is shown for
// another directory than their default, too.
func TestMain(m *testing.M) {
	framework.Suite{Cluster: "space-outage", KubeletDir: "/var/snap/microk8s/common/var/lib/kubelet"}.Run(m, &env)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"path/filepath"
	"testing"
)

func TestOnMachineAndInHost_translatePaths(t *testing.T) {
	if got, want := onMachine("c", "h", hostPKI+"/ca.crt"), "/var/lib/space-cluster/c/h/var/lib/space-cluster/pki/ca.crt"; got != want {
		t.Errorf("on the machine: got %s, want %s", got, want)
	}
	if got, want := inHost("/build/bin", "/build/bin/etcd-v1/etcd"), filepath.Join(hostBin, "etcd-v1/etcd"); got != want {
		t.Errorf("in the host: got %s, want %s", got, want)
	}
}

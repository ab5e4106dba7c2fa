// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"strings"
	"testing"
)

func TestPlan_namesHostsAndTheirPods(t *testing.T) {
	name := strings.Repeat("n", maxNameLength)
	rec, err := plan(Config{Name: name, Nodes: 2}, "/build/bin", map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ name, podCIDR string }{
		{name + "-control-plane", ""}, {name + "-worker", "10.244.1.0/24"}, {name + "-worker2", "10.244.2.0/24"},
	}
	for i, w := range want {
		h := rec.Hosts[i]
		if h.Name != w.name {
			t.Errorf("host %d is %s, want %s", i, h.Name, w.name)
		}
		if w.podCIDR != "" && h.PodCIDR.String() != w.podCIDR {
			t.Errorf("pods of %s are in %s, want %s", h.Name, h.PodCIDR, w.podCIDR)
		}
		// sockaddr_un has room for 108 bytes with the final zero.
		if len(h.Spec.Socket) > 107 {
			t.Errorf("socket %s is %d bytes long", h.Spec.Socket, len(h.Spec.Socket))
		}
		if !strings.HasPrefix(h.Spec.Cgroup, cgroupRoot(name)+"/") {
			t.Errorf("cgroup %s isn't below the cluster's", h.Spec.Cgroup)
		}
	}
}

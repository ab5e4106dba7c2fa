// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCluster_namesHostsAndTheirFiles(t *testing.T) {
	name := strings.Repeat("n", maxNameLength)
	cfg := Config{Name: name, Nodes: 2, BuildDir: "/build"}
	c := newCluster(cfg, &record{Config: cfg, Subnet: netip.MustParsePrefix("172.30.7.0/24")})
	for i, want := range []struct{ name, address string }{
		{name + "-control-plane", "172.30.7.1"}, {name + "-worker", "172.30.7.11"}, {name + "-worker2", "172.30.7.12"},
	} {
		h := c.Hosts()[i]
		if h.Name() != want.name || h.Address() != want.address {
			t.Errorf("host %d is %s at %s, want %+v", i, h.Name(), h.Address(), want)
		}
		if want := "/var/lib/space-cluster/" + name + "/" + h.Name() + "/var/log/a.log"; h.LogFile("a") != want {
			t.Errorf("the log is %s, want %s", h.LogFile("a"), want)
		}
		if !strings.HasPrefix(h.cgroup(), cgroupRoot(name)+"/") {
			t.Errorf("cgroup %s is not below the cluster's", h.cgroup())
		}
	}
	if got, want := c.inHost("/build/cluster/bin/etcd-v1/etcd"), "/var/lib/space-cluster/programs/etcd-v1/etcd"; got != want {
		t.Errorf("in a host the program is %s, want %s", got, want)
	}
}

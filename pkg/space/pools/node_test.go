// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"maps"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"
)

func TestNodeResources_selectPoolsByLabels(t *testing.T) {
	set := Set{Pools: parse(t, "- {name: local, perNode: {limit: 2}, nodeSelector: {disk: ssd}}\n- {name: other, perNode: {limit: 1}}\n- {name: cluster}")}
	for name, test := range map[string]struct {
		labels map[string]string
		want   []string
	}{
		"selected":       {map[string]string{"disk": "ssd", "x": "y"}, []string{"local/n.example.com", "other/n.example.com"}},
		"another label":  {map[string]string{"disk": "hdd"}, []string{"other/n.example.com"}},
		"without labels": {nil, []string{"other/n.example.com"}},
	} {
		if got := slices.Sorted(maps.Keys(set.NodeResources("n.example.com", test.labels, supported).Pools)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got pools %v, want %v", name, got, test.want)
		}
	}
	p := set.NodeResources("a", map[string]string{"disk": "ssd"}, supported).Pools["local/a"]
	if attribute := onlyDevice(t, p).Attributes["pool"].StringValue; ptr.Deref(attribute, "") != "local" {
		t.Errorf("got attribute pool %v, which classes cannot select", attribute)
	}
	if p.AllNodes || p.NodeSelector != nil {
		t.Errorf("the API server rejects a slice that names its node and selects nodes: %+v", p)
	}
	if got := len(set.NodeResources("a", map[string]string{"disk": "ssd"}, unsupported).Pools["local/a"].Slices[0].Devices); got != 2 {
		t.Errorf("got %d dedicated devices, want 2", got)
	}
	if got := slices.Sorted(maps.Keys(set.ClusterResources(supported).Pools)); !slices.Equal(got, []string{"cluster"}) {
		t.Errorf("the controller publishes %v", got)
	}
}

func TestNameOnNode_fitsAndIsUnique(t *testing.T) {
	long := strings.Repeat("n", 253)
	name := nameOnNode(strings.Repeat("p", 63), long)
	if len(name) > resourceapi.PoolNameMaxLength {
		t.Errorf("the name has %d characters", len(name))
	}
	if other := nameOnNode(strings.Repeat("p", 63), long[:252]+"m"); other == name {
		t.Error("the pools of two nodes have the same name")
	}
}

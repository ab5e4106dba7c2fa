// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

func TestClusterResources_selectNodes(t *testing.T) {
	in := func(key, value string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}
	}
	pools := parse(t, "- {name: any}\n- {name: zone, nodeSelector: {zone: a}}")
	for name, test := range map[string]struct {
		plugins map[string]string
		pool    string
		want    []corev1.NodeSelectorRequirement
	}{
		"all nodes":           {nil, "any", nil},
		"nodes of the plugin": {map[string]string{"os": "linux", "disk": "ssd"}, "any", []corev1.NodeSelectorRequirement{in("disk", "ssd"), in("os", "linux")}},
		"nodes of the pool":   {nil, "zone", []corev1.NodeSelectorRequirement{in("zone", "a")}},
		"nodes of both":       {map[string]string{"os": "linux"}, "zone", []corev1.NodeSelectorRequirement{in("os", "linux"), in("zone", "a")}},
	} {
		for how, cluster := range map[string]Unsupported{"shareable": supported, "dedicated": unsupported} {
			t.Run(how+": "+name, func(t *testing.T) {
				got := Set{Pools: pools, NodeSelector: test.plugins, DedicatedDevices: 1}.ClusterResources(cluster).Pools[test.pool]
				if test.want == nil {
					if !got.AllNodes || got.NodeSelector != nil {
						t.Errorf("got allNodes %t, nodeSelector %v", got.AllNodes, got.NodeSelector)
					}
					return
				}
				want := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: test.want}}}
				if got.AllNodes {
					t.Error("got allNodes and a nodeSelector, which the API server rejects")
				}
				if !equality.Semantic.DeepEqual(got.NodeSelector, want) {
					t.Errorf("got %v, want %v", got.NodeSelector, want)
				}
			})
		}
	}
}

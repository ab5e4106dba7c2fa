// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// published is a slice for the pods on a node, or on all if it has no name.
func published(pool, node string) *resourceapi.ResourceSlice {
	slice := &resourceapi.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "slice-" + pool}, Spec: resourceapi.ResourceSliceSpec{
		Pool: resourceapi.ResourcePool{Name: pool, ResourceSliceCount: 1}, Devices: []resourceapi.Device{{Name: "space"}},
	}}
	if node == "" {
		slice.Spec.AllNodes = ptr.To(true)
		return slice
	}
	slice.Spec.NodeName = &node
	return slice
}

func TestWrongResourceSlicesAreNoticed(t *testing.T) {
	whole, two := map[string]string{"spaces": ""}, map[string]string{"spaces/a": "a", "spaces/b": "b"}
	incomplete := published("spaces", "")
	incomplete.Spec.Pool.ResourceSliceCount = 2
	for name, test := range map[string]struct {
		slices []any
		pools  map[string]string
		want   string
	}{
		"one for the cluster":       {[]any{published("spaces", "")}, whole, ""},
		"one for each node":         {[]any{published("spaces/b", "b"), published("spaces/a", "a")}, two, ""},
		"one too few":               {[]any{published("spaces/a", "a")}, two, "1 ResourceSlices in place of 2"},
		"one twice":                 {[]any{published("spaces/a", "a"), published("spaces/a", "a")}, two, "has another one"},
		"one of a node that left":   {[]any{published("spaces/a", "a"), published("spaces/c", "c")}, two, "not there"},
		"one for another node":      {[]any{published("spaces/a", "a"), published("spaces/b", "a")}, two, `not for "b"`},
		"one for all nodes":         {[]any{published("spaces/a", "a"), published("spaces/b", "")}, two, `not for "b"`},
		"a whole pool for one node": {[]any{published("spaces", "a")}, whole, `not for ""`},
		"an incomplete pool":        {[]any{incomplete}, whole, "one of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unpublished(test.slices, test.pools); !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestNodesThatTakeNoPodsAreNoticed(t *testing.T) {
	fit := func(taints ...corev1.Taint) *corev1.Node {
		node := simulatedNode(1)
		node.Spec.Taints = taints
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		return node
	}
	for name, test := range map[string]struct {
		nodes []any
		want  string
	}{
		"it is Ready":   {[]any{fit()}, ""},
		"it is tainted": {[]any{fit(corev1.Taint{Key: corev1.TaintNodeNotReady})}, "takes no pods"},
		"not yet Ready": {[]any{simulatedNode(1)}, "takes no pods"},
		"one too many":  {[]any{fit(), fit()}, "2 nodes in place of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unfit(test.nodes, 1); !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestCallsIn_leavesOutWhatLeaderElectionDoes(t *testing.T) {
	got := callsIn(parse(`rest_client_requests_total{code="200",method="GET"} 7
rest_client_requests_total{code="200",method="PUT"} 13
rest_client_requests_total{code="201",method="POST"} 3
rest_client_requests_total{code="200",method="DELETE"} 2
workqueue_adds_total{name="x"} 11
`))
	if got != 5 {
		t.Errorf("got %v calls, want 5", got)
	}
}

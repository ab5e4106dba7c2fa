// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/pools"
)

// recorder records what the driver publishes.
type recorder []resourceslice.DriverResources

// PublishResources implements resourcePublisher.
func (r *recorder) PublishResources(_ context.Context, resources resourceslice.DriverResources) error {
	*r = append(*r, resources)
	return nil
}

// pools lists the pools of each publication with the numbers of their devices.
func (r *recorder) pools() []string {
	var out []string
	for _, resources := range *r {
		var pools []string
		for _, name := range slices.Sorted(maps.Keys(resources.Pools)) {
			pools = append(pools, fmt.Sprintf("%s:%d", name, len(resources.Pools[name].Slices[0].Devices)))
		}
		out = append(out, strings.Join(pools, " "))
	}
	return out
}

func (r *recorder) want(t *testing.T, pools ...string) {
	t.Helper()
	if synctest.Wait(); !slices.Equal(r.pools(), pools) {
		t.Errorf("published %q, want %q", r.pools(), pools)
	}
}

func TestPublish_followsTheLabelsOfTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "first"}}
		client := fake.NewClientset(node)
		set := pools.Set{Pools: []pools.Pool{
			{Name: "any", PerNode: &pools.PerNode{Limit: ptr.To[int64](3)}},
			{Name: "ssd", PerNode: &pools.PerNode{Limit: ptr.To[int64](2)}, NodeSelector: map[string]string{"disk": "ssd"}},
		}}
		d := &Driver{Config: Config{Driver: testDriver, Node: "n", Client: client, Pools: set}, features: pools.NewFeatures(set)}
		published, ended := &recorder{}, make(chan error, 1)
		go func() { ended <- d.publish(t.Context(), published) }()
		update := func(labels map[string]string, uid types.UID) {
			t.Helper()
			node := node.DeepCopy()
			node.Labels, node.UID = labels, uid
			if _, err := client.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		published.want(t, "any/n:1")
		update(map[string]string{"other": "label"}, "first")
		published.want(t, "any/n:1")
		update(map[string]string{"disk": "ssd"}, "first")
		published.want(t, "any/n:1", "any/n:1 ssd/n:1")

		dropped := &resourceslice.DroppedFieldsError{
			DesiredSlice: &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{Devices: []resourceapi.Device{{AllowMultipleAllocations: ptr.To(true)}}}},
			ActualSlice:  &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{Devices: []resourceapi.Device{{}}}},
		}
		for range 2 {
			d.HandleError(t.Context(), fmt.Errorf("%w%w", kubeletplugin.ErrRecoverable, dropped), "sync")
		}
		published.want(t, "any/n:1", "any/n:1 ssd/n:1", "any/n:3 ssd/n:2")

		update(map[string]string{"disk": "ssd"}, "second")
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "recreated") {
			t.Errorf("a Node that was recreated: got error %v", err)
		}
	})
}

func TestPublish_withoutPoolsDeletesSlices(t *testing.T) {
	client, published := fake.NewClientset(), &recorder{}
	if err := (&Driver{Config: Config{Node: "n", Client: client}}).publish(t.Context(), published); err != nil {
		t.Fatal(err)
	}
	if got := published.pools(); !slices.Equal(got, []string{""}) {
		t.Errorf("published %q, want nothing, once", got)
	}
	if got := client.Actions(); len(got) > 0 {
		t.Errorf("the plugin reads what it does not need, and may not: %v", got)
	}
}

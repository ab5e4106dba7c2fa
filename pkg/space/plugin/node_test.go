// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
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

func TestSyncNode_publishesPoolsByLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "first"}}
		client := fake.NewClientset(node)
		set := pools.Set{Pools: []pools.Pool{
			{Name: "any", PerNode: &pools.PerNode{Limit: ptr.To[int64](3)}},
			{Name: "ssd", PerNode: &pools.PerNode{Limit: ptr.To[int64](2)}, NodeSelector: map[string]string{"disk": "ssd"}},
		}}
		d := &Driver{Config: Config{Driver: testDriver, Node: "n", Client: client, Pools: set, Clock: clock.RealClock{}}, features: pools.NewFeatures(set)}
		published, ended := &recorder{}, make(chan error, 1)
		go func() { ended <- d.syncNode(t.Context(), published) }()
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

func TestSyncNode_withoutPoolsDeletesSlices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, published := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "first"}}), &recorder{}
		go func() {
			_ = (&Driver{Config: Config{Node: "n", Client: client}, features: pools.NewFeatures(pools.Set{})}).syncNode(t.Context(), published)
		}()
		published.want(t, "")
		for _, action := range client.Actions() {
			if action.GetResource().Resource != "nodes" {
				t.Errorf("got unnecessary request %v", action)
			}
		}
	})
}

func TestSyncNode_renewsAllTokensWhenTheNodeWasDeletedBefore(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a", "b")
		n.requester.intercept(func(context.Context, token.Account) error { return errors.New("no Node") })
		go func() { _ = n.driver.syncNode(t.Context(), &recorder{}) }()
		synctest.Wait()
		if devices, _ := n.driver.deviceHealth(); len(devices) != 1 || devices[0].Health != kubeletplugin.HealthStatusUnhealthy {
			t.Errorf("without a Node: got %+v, want unhealthy", devices)
		}
		n.requester.intercept(nil)
		_, err := n.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-7", UID: "second"}}, metav1.CreateOptions{})
		n.must(err)
		synctest.Wait() // no time passes
		if devices, _ := n.driver.deviceHealth(); len(devices) != 1 || devices[0].Health != kubeletplugin.HealthStatusHealthy {
			t.Errorf("with a new Node: got %+v, want healthy", devices)
		}
	})
}

func TestSyncNode_renewsAllTokensForANewNode(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-7", UID: "first"}}
		nodes := n.client.CoreV1().Nodes()
		_, err := nodes.Create(t.Context(), object, metav1.CreateOptions{})
		n.must(err)
		go func() { _ = n.driver.syncNode(t.Context(), &recorder{}) }()
		n.preparedAs(claimA, "a", "b")
		wantHealth := func(want kubeletplugin.HealthStatus, message string) {
			t.Helper()
			synctest.Wait()
			if devices, _ := n.driver.deviceHealth(); len(devices) != 1 || devices[0].Health != want || !strings.Contains(devices[0].Message, message) {
				t.Errorf("got %+v, want %s with %q", devices, want, message)
			}
		}
		wantHealth(kubeletplugin.HealthStatusHealthy, "")

		const missing = "Node node-7 does not exist"
		n.requester.intercept(func(context.Context, token.Account) error { return errors.New(missing) })
		n.must(nodes.Delete(t.Context(), object.Name, metav1.DeleteOptions{}))
		wantHealth(kubeletplugin.HealthStatusUnhealthy, missing)
		if e, _ := n.awaitEvent(); !strings.Contains(e, missing) {
			t.Errorf("got event %q", e)
		}

		n.requester.intercept(nil)
		object.UID = "second"
		_, err = nodes.Create(t.Context(), object, metav1.CreateOptions{})
		n.must(err)
		synctest.Wait() // no time passes
		if renewed := len(n.requester.calls); renewed != 2 {
			t.Errorf("%d tokens were renewed, want 2", renewed)
		}
		wantHealth(kubeletplugin.HealthStatusHealthy, "")

		// A watch can miss the deletion. Other changes of the Node cause no renewal.
		<-time.After(time.Second)
		object.UID = "third"
		for range 2 {
			_, err = nodes.Update(t.Context(), object, metav1.UpdateOptions{})
			n.must(err)
			synctest.Wait()
			object.Labels = map[string]string{"disk": "ssd"}
		}
		if renewed := len(n.requester.calls); renewed != 4 {
			t.Errorf("%d tokens were renewed, want 4", renewed)
		}
	})
}

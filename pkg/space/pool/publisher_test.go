// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

func TestWhichDroppedFieldsHaveAFallback(t *testing.T) {
	slice := func(devices ...resourceapi.Device) *resourceapi.ResourceSlice {
		return &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{Devices: devices}}
	}
	bare := slice(resourceapi.Device{})
	shareable := &resourceslice.DroppedFieldsError{DesiredSlice: slice(resourceapi.Device{AllowMultipleAllocations: ptr.To(true)}), ActualSlice: bare}
	binding := &resourceslice.DroppedFieldsError{DesiredSlice: slice(resourceapi.Device{BindingConditions: []string{"c"}}), ActualSlice: bare}
	named := &resourceslice.DroppedFieldsError{
		DesiredSlice: &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{PerDeviceNodeSelection: ptr.To(true)}}, ActualSlice: bare,
	}
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "ResourceSlice"}, "s", nil)
	other := &resourceslice.DroppedFieldsError{DesiredSlice: slice(resourceapi.Device{Taints: []resourceapi.DeviceTaint{{Key: "k"}}}), ActualSlice: bare}
	for name, test := range map[string]struct {
		errs    []error
		want    lacks
		handled int
	}{
		"the field that makes it shareable": {[]error{shareable}, lacks{shareable: true}, 0},
		"it again, and wrapped":             {[]error{shareable, fmt.Errorf("sync: %w", shareable)}, lacks{shareable: true}, 0},
		"binding conditions":                {[]error{binding}, lacks{binding: true}, 0},
		"one after the other":               {[]error{binding, shareable}, lacks{binding: true, shareable: true}, 0},
		"the node of a device":              {[]error{named}, lacks{nodes: true}, 0},
		"a slice that is refused":           {[]error{fmt.Errorf("sync: %w", invalid)}, lacks{nodes: true}, 1},
		"a field that is not ours":          {[]error{other}, lacks{}, 1},
		"any other error":                   {[]error{context.DeadlineExceeded}, lacks{}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			handled := 0
			handlers := utilruntime.ErrorHandlers
			utilruntime.ErrorHandlers = []utilruntime.ErrorHandler{func(context.Context, error, string, ...any) { handled++ }}
			t.Cleanup(func() { utilruntime.ErrorHandlers = handlers })
			d := newDrops(lacks{})
			for _, err := range test.errs {
				d.handle(t.Context(), err, "sync slices")
			}
			if got := d.seen(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if handled != test.handled {
				t.Errorf("%d errors were reported, want %d", handled, test.handled)
			}
			if got, want := len(d.changed) > 0, test.want != (lacks{}); got != want {
				t.Errorf("something else would be published: %t, want %t", got, want)
			}
		})
	}
}

func TestTheAPIServerIsAskedWhatItDrops(t *testing.T) {
	for name, test := range map[string]struct {
		keep func(*resourceapi.Device)
		want lacks
	}{
		"nothing":            {func(*resourceapi.Device) {}, lacks{}},
		"shareable devices":  {func(d *resourceapi.Device) { d.AllowMultipleAllocations = nil }, lacks{shareable: true}},
		"binding conditions": {func(d *resourceapi.Device) { d.BindingConditions, d.BindingFailureConditions = nil, nil }, lacks{binding: true}},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("create", "resourceslices", func(action clienttesting.Action) (bool, runtime.Object, error) {
				create := action.(clienttesting.CreateActionImpl)
				if !slices.Equal(create.CreateOptions.DryRun, []string{metav1.DryRunAll}) {
					t.Errorf("a slice would be stored: %v", create.CreateOptions)
				}
				slice := create.Object.(*resourceapi.ResourceSlice).DeepCopy()
				test.keep(&slice.Spec.Devices[0])
				return true, slice, nil
			})
			if got, err := (Set{}).probe(t.Context(), client, "d.example.com"); err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestWhereDevicesCannotNameTheirNodesIsAskedForPoolsPerNode(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "ResourceSlice"}, "probe", nil)
	for name, test := range map[string]struct {
		pools  Set
		answer error
		want   lacks
		asked  int
		fails  bool
	}{
		"they can":                {perNode(1), nil, lacks{}, 2, false},
		"they can't":              {perNode(1), invalid, lacks{nodes: true}, 2, false},
		"nobody knows":            {perNode(1), context.DeadlineExceeded, lacks{nodes: true}, 2, true},
		"no pool is for one node": {Set{Pools: Default()}, invalid, lacks{}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			asked := 0
			client.PrependReactor("create", "resourceslices", func(action clienttesting.Action) (bool, runtime.Object, error) {
				asked++
				slice := action.(clienttesting.CreateAction).GetObject().(*resourceapi.ResourceSlice)
				if slice.Spec.PerDeviceNodeSelection != nil && test.answer != nil {
					return true, nil, test.answer
				}
				return true, slice, nil
			})
			got, err := test.pools.probe(t.Context(), client, "d.example.com")
			if (err != nil) != test.fails || got != test.want || asked != test.asked {
				t.Errorf("got %+v and %v, asked %d times, want %+v, asked %d times", got, err, asked, test.want, test.asked)
			}
		})
	}
}

func node(name, disk string) *metav1.PartialObjectMetadata {
	n := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"disk": disk}, Annotations: map[string]string{"large": "thing"}}}
	n.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Node"})
	return n
}

func metadataClient(t *testing.T, objects ...runtime.Object) *metadatafake.FakeMetadataClient {
	t.Helper()
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return metadatafake.NewSimpleMetadataClient(scheme, objects...)
}

var nodeResource = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

// awaitWatch waits until nodes are watched: what changes between the list and the watch is
// lost on who asks the fake API server, which replays nothing.
func awaitWatch(t *testing.T, client *metadatafake.FakeMetadataClient) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return slices.ContainsFunc(client.Actions(), func(a clienttesting.Action) bool { return a.GetVerb() == "watch" }), nil
	}); err != nil {
		t.Fatalf("waited for nodes to be watched: %v", err)
	}
}

func TestNodesAreFollowedByNameAndLabels(t *testing.T) {
	client := metadataClient(t, node("b", "ssd"), node("a", "hdd"))
	n, err := followNodes(t.Context(), client, nil)
	if err != nil {
		t.Fatal(err)
	}
	names := func() []string {
		var out []string
		for _, node := range n.list() {
			out = append(out, node.Name+"="+node.Labels["disk"])
		}
		return out
	}
	await := func(want ...string) {
		t.Helper()
		for {
			if slices.Equal(names(), want) {
				return
			}
			select {
			case <-n.changed:
			case <-time.After(time.Minute):
				t.Fatalf("got nodes %v, want %v, and nothing changes", names(), want)
			}
		}
	}
	await("a=hdd", "b=ssd")
	awaitWatch(t, client)
	nodes := client.Resource(nodeResource).(metadatafake.MetadataClient)
	if _, err := nodes.CreateFake(node("c", "ssd"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("a=hdd", "b=ssd", "c=ssd")
	if _, err := nodes.UpdateFake(node("a", "ssd"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await("a=ssd", "b=ssd", "c=ssd")
	if err := nodes.Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await("a=ssd", "c=ssd")
	for _, obj := range n.store.List() {
		if got := obj.(*metav1.PartialObjectMetadata).Annotations; got != nil {
			t.Errorf("annotations are kept in memory: %v", got)
		}
	}
}

func TestOnlyNodesWithThePluginAreAskedFor(t *testing.T) {
	client := metadataClient(t)
	if _, err := followNodes(t.Context(), client, map[string]string{"os": "linux"}); err != nil {
		t.Fatal(err)
	}
	listed := false
	for _, action := range client.Actions() {
		if list, ok := action.(clienttesting.ListAction); ok {
			listed = true
			if got := list.GetListRestrictions().Labels.String(); got != "os=linux" {
				t.Errorf("nodes are listed with selector %q", got)
			}
		}
	}
	if !listed {
		t.Error("nodes are not listed at all")
	}
}

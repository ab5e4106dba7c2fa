// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

func TestTheShareableDeviceIsThereForAnyNumberOfClaims(t *testing.T) {
	got := Pool{Name: "spaces", Exclusive: 5}.Shareable().Pools["spaces"]
	if len(got.Slices) != 1 || len(got.Slices[0].Devices) != 1 {
		t.Fatalf("got %+v, want one slice with one device", got)
	}
	device := got.Slices[0].Devices[0]
	if !ptr.Deref(device.AllowMultipleAllocations, false) {
		t.Error("the device can be allocated only once")
	}
	if len(device.Capacity) > 0 {
		t.Errorf("the device has a capacity, which limits it: %v", device.Capacity)
	}
	if msgs := validation.IsDNS1123Label(device.Name); len(msgs) > 0 {
		t.Errorf("device name %q: %s", device.Name, msgs)
	}
}

func TestFallbackSplitsAsTheAPIDemands(t *testing.T) {
	for _, test := range []struct {
		exclusive int
		slices    []int
	}{{1, []int{1}}, {127, []int{127}}, {128, []int{128}}, {129, []int{128, 1}}, {300, []int{128, 128, 44}}} {
		t.Run(fmt.Sprintf("%d devices", test.exclusive), func(t *testing.T) {
			pool := Pool{Name: "spaces", Exclusive: test.exclusive}.Fallback().Pools["spaces"]
			var got []int
			names := map[string]bool{}
			for _, slice := range pool.Slices {
				got = append(got, len(slice.Devices))
				for _, device := range slice.Devices {
					names[device.Name] = true
					if device.AllowMultipleAllocations != nil {
						t.Errorf("device %s is shareable", device.Name)
					}
					if msgs := validation.IsDNS1123Label(device.Name); len(msgs) > 0 {
						t.Errorf("device name %q: %s", device.Name, msgs)
					}
				}
			}
			if !slices.Equal(got, test.slices) {
				t.Errorf("got slices of %v devices, want %v", got, test.slices)
			}
			if len(names) != test.exclusive {
				t.Errorf("got %d different names, want %d", len(names), test.exclusive)
			}
		})
	}
}

func TestWhichNodesCanReachThePool(t *testing.T) {
	for name, describe := range map[string]func(Pool) *resourceslice.DriverResources{
		"shareable": Pool.Shareable, "fallback": Pool.Fallback,
	} {
		t.Run(name+": all of them", func(t *testing.T) {
			got := describe(Pool{Name: "p", Exclusive: 1}).Pools["p"]
			if !got.AllNodes || got.NodeSelector != nil {
				t.Errorf("got allNodes %t, nodeSelector %v", got.AllNodes, got.NodeSelector)
			}
		})
		t.Run(name+": those with all the labels", func(t *testing.T) {
			p := Pool{Name: "p", Exclusive: 1, NodeSelector: map[string]string{"zone": "a", "disk": "ssd"}}
			got := describe(p).Pools["p"]
			want := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: "disk", Operator: corev1.NodeSelectorOpIn, Values: []string{"ssd"}},
					{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}},
				},
			}}}
			if got.AllNodes {
				t.Error("the pool is for all nodes too, which the API server refuses")
			}
			if !equality.Semantic.DeepEqual(got.NodeSelector, want) {
				t.Errorf("got %v, want %v", got.NodeSelector, want)
			}
		})
	}
}

func TestFallbackIsForDroppedFieldsOnly(t *testing.T) {
	slice := func(devices ...resourceapi.Device) *resourceapi.ResourceSlice {
		return &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{Devices: devices}}
	}
	wanted := slice(resourceapi.Device{Name: "space", AllowMultipleAllocations: ptr.To(true)})
	dropped := &resourceslice.DroppedFieldsError{DesiredSlice: wanted, ActualSlice: slice(resourceapi.Device{Name: "space"})}
	otherDropped := &resourceslice.DroppedFieldsError{
		DesiredSlice: slice(resourceapi.Device{Taints: []resourceapi.DeviceTaint{{Key: "k"}}}),
		ActualSlice:  slice(resourceapi.Device{}),
	}
	quietly(t)
	for name, test := range map[string]struct {
		errs []error
		want bool
	}{
		"the field that makes it shareable": {[]error{dropped}, true},
		"it again, and wrapped":             {[]error{dropped, fmt.Errorf("sync: %w", dropped)}, true},
		"a field that is not ours":          {[]error{otherDropped}, false},
		"any other error":                   {[]error{context.DeadlineExceeded}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFallback()
			for _, err := range test.errs {
				f.handle(t.Context(), err, "sync slices")
			}
			select {
			case <-f.needed:
				if !test.want {
					t.Error("exclusive devices would be published")
				}
			default:
				if test.want {
					t.Error("exclusive devices would not be published")
				}
			}
		})
	}
}

// quietly keeps expected errors out of the test's output, and from being slowed down.
func quietly(t *testing.T) {
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	t.Cleanup(func() { utilruntime.ErrorHandlers = handlers })
}

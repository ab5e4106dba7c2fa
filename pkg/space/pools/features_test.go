// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"context"
	"fmt"
	"slices"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

func TestHandleError_recordsDroppedFields(t *testing.T) {
	slice := func(devices ...resourceapi.Device) *resourceapi.ResourceSlice {
		return &resourceapi.ResourceSlice{Spec: resourceapi.ResourceSliceSpec{Devices: devices}}
	}
	without := slice(resourceapi.Device{})
	shareable := &resourceslice.DroppedFieldsError{DesiredSlice: slice(resourceapi.Device{AllowMultipleAllocations: ptr.To(true)}), ActualSlice: without}
	binding := &resourceslice.DroppedFieldsError{DesiredSlice: slice(resourceapi.Device{BindingConditions: []string{"c"}}), ActualSlice: without}
	other := &resourceslice.DroppedFieldsError{DesiredSlice: slice(resourceapi.Device{Taints: []resourceapi.DeviceTaint{{Key: "k"}}}), ActualSlice: without}
	for name, test := range map[string]struct {
		errs []error
		want Unsupported
	}{
		"shareable devices":   {[]error{shareable}, Unsupported{ShareableDevices: true}},
		"twice, and wrapped":  {[]error{shareable, fmt.Errorf("sync: %w", shareable)}, Unsupported{ShareableDevices: true}},
		"binding conditions":  {[]error{binding}, Unsupported{BindingConditions: true}},
		"one after the other": {[]error{binding, shareable}, Unsupported{ShareableDevices: true, BindingConditions: true}},
		"another field":       {[]error{other}, Unsupported{}},
		"any other error":     {[]error{context.DeadlineExceeded}, Unsupported{}},
	} {
		t.Run(name, func(t *testing.T) {
			f := NewFeatures(Set{})
			for _, err := range test.errs {
				f.HandleError(t.Context(), err, "sync slices")
			}
			if got := f.Unsupported(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if got, want := len(f.Changed()) > 0, test.want != (Unsupported{}); got != want {
				t.Errorf("changed: %t, want %t", got, want)
			}
		})
	}
}

func TestProbe_findsDroppedFields(t *testing.T) {
	for name, test := range map[string]struct {
		drop func(*resourceapi.Device)
		want Unsupported
	}{
		"nothing":            {func(*resourceapi.Device) {}, Unsupported{}},
		"shareable devices":  {func(d *resourceapi.Device) { d.AllowMultipleAllocations = nil }, Unsupported{ShareableDevices: true}},
		"binding conditions": {func(d *resourceapi.Device) { d.BindingConditions, d.BindingFailureConditions = nil, nil }, Unsupported{BindingConditions: true}},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			client.PrependReactor("create", "resourceslices", func(action clienttesting.Action) (bool, runtime.Object, error) {
				create := action.(clienttesting.CreateActionImpl)
				if !slices.Equal(create.CreateOptions.DryRun, []string{metav1.DryRunAll}) {
					t.Errorf("the request is not a dry run: %v", create.CreateOptions)
				}
				slice := create.Object.(*resourceapi.ResourceSlice).DeepCopy()
				test.drop(&slice.Spec.Devices[0])
				return true, slice, nil
			})
			f := NewFeatures(Set{})
			f.Probe(t.Context(), client, "d.example.com", "")
			if got := f.Unsupported(); got != test.want || len(f.Changed()) > 0 {
				t.Errorf("got %+v, changed: %t, want %+v", got, len(f.Changed()) > 0, test.want)
			}
		})
	}
}

func TestProbe_assumesSupportAfterAnError(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "resourceslices", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, context.DeadlineExceeded
	})
	f := NewFeatures(Set{})
	f.Probe(t.Context(), client, "d.example.com", "node")
	if got := f.Unsupported(); got != (Unsupported{}) {
		t.Errorf("got %+v", got)
	}
}

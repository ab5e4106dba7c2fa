// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"context"
	"errors"
	"slices"
	"sync"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// Feature gates of the fields AllowMultipleAllocations and BindingConditions, as package
// resourceslice names them.
const (
	shareableFeature = "DRAConsumableCapacity"
	bindingFeature   = "DRADeviceBindingConditions"
)

// Unsupported has the features of devices that the API server does not support. It drops their
// fields.
type Unsupported struct {
	// ShareableDevices is set if the API server drops allowMultipleAllocations: only one claim at a
	// time can use a device.
	ShareableDevices bool
	// BindingConditions is set if the API server drops bindingConditions: the scheduler does not wait
	// for them.
	BindingConditions bool
}

// Features tracks which features the API server does not support, and logs what that means for
// each of the pools.
type Features struct {
	pools   Set
	changed chan struct{}

	mutex       sync.Mutex
	unsupported Unsupported
}

// NewFeatures returns Features that assume that the API server supports all features.
func NewFeatures(pools Set) *Features {
	return &Features{pools: pools, changed: make(chan struct{}, 1)}
}

// Unsupported returns the features that are known to be unsupported.
func (f *Features) Unsupported() Unsupported {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.unsupported
}

// Changed returns a channel that receives when [Features.HandleError] has found unsupported features,
// so that other devices have to be published.
func (f *Features) Changed() <-chan struct{} { return f.changed }

// Probe finds out with a dry run which fields the API server drops from slices of a node or, if
// node is empty, of the cluster. HandleError would find out, too, but then each restart would
// publish a shareable device for a moment, and a claim could get it.
func (f *Features) Probe(ctx context.Context, client kubernetes.Interface, driver, node string) {
	slice := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
		Spec: resourceapi.ResourceSliceSpec{
			Driver: driver,
			Pool:   resourceapi.ResourcePool{Name: "probe", ResourceSliceCount: 1},
			Devices: []resourceapi.Device{{
				Name:                     "space",
				AllowMultipleAllocations: ptr.To(true),
				BindingConditions:        []string{spaceapi.ConditionReady},
				BindingFailureConditions: []string{spaceapi.ConditionBindingFailed},
			}},
		},
	}
	if node == "" {
		slice.Spec.AllNodes = ptr.To(true)
	} else {
		slice.Spec.NodeName = &node
	}
	stored, err := client.ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		// HandleError finds out later.
		klog.FromContext(ctx).Error(err, "Could not determine which fields of ResourceSlices the API server supports: assuming that it supports all")
		return
	}
	for _, device := range stored.Spec.Devices {
		f.add(ctx, Unsupported{ShareableDevices: device.AllowMultipleAllocations == nil, BindingConditions: len(device.BindingConditions) == 0})
	}
}

// HandleError logs errors of the library that publishes slices, and records dropped fields.
func (f *Features) HandleError(ctx context.Context, err error, msg string) {
	utilruntime.HandleErrorWithContext(ctx, err, msg)
	var dropped *resourceslice.DroppedFieldsError
	if !errors.As(err, &dropped) {
		return
	}
	features := dropped.DisabledFeatures()
	if f.add(ctx, Unsupported{
		ShareableDevices:  slices.Contains(features, shareableFeature),
		BindingConditions: slices.Contains(features, bindingFeature),
	}) {
		select {
		case f.changed <- struct{}{}:
		default: // The last change was not received yet.
		}
	}
}

// add records unsupported features, and reports whether one of them is new.
func (f *Features) add(ctx context.Context, unsupported Unsupported) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	known := &f.unsupported
	found := Unsupported{unsupported.ShareableDevices && !known.ShareableDevices, unsupported.BindingConditions && !known.BindingConditions}
	known.ShareableDevices = known.ShareableDevices || found.ShareableDevices
	known.BindingConditions = known.BindingConditions || found.BindingConditions
	for _, p := range f.pools.Pools {
		f.pools.logUnsupported(ctx, p, found)
	}
	return found != Unsupported{}
}

// logUnsupported logs what unsupported features mean for a pool.
func (s Set) logUnsupported(ctx context.Context, p Pool, found Unsupported) {
	logger := klog.FromContext(ctx)
	if found.BindingConditions && s.hasBindingConditions(p) {
		logger.Info("This cluster does not support binding conditions (feature "+bindingFeature+"): pods are bound to nodes before their spaces are ready", logkeys.Pool, p.Name)
	}
	if !found.ShareableDevices {
		return
	}
	meaning := ""
	switch {
	case p.Budget != nil:
		meaning = ", so the number of spaces is limited to those of the default size that fit, and each of them gets the default part of the budget as its quota"
	case p.Limit == nil && p.PerNode == nil:
		meaning = ", so the number of spaces is limited"
	}
	logger.Info("This cluster does not support shareable devices (feature "+shareableFeature+"): publishing dedicated devices instead"+meaning,
		logkeys.Pool, p.Name, "limit", s.dedicatedDeviceCount(p))
}

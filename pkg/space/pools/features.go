// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"context"
	"errors"
	"fmt"
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

// What package resourceslice calls the feature gates behind AllowMultipleAllocations
// and BindingConditions of devices.
const (
	shareableFeature = "DRAConsumableCapacity"
	bindingFeature   = "DRADeviceBindingConditions"
)

// Unsupported is which fields of devices the API server drops.
type Unsupported struct {
	// ShareableDevices: a device is one claim's, and its capacities are never consumed.
	ShareableDevices bool
	// BindingConditions: the scheduler does not wait for conditions.
	BindingConditions bool
}

// Features tracks what the API server supports of what a set of pools needs, and logs
// what it means for each of them if something is missing.
type Features struct {
	pools   Set
	changed chan struct{}

	mutex   sync.Mutex
	missing Unsupported
}

// NewFeatures returns features that are all supported, as far as is known.
func NewFeatures(pools Set) *Features {
	return &Features{pools: pools, changed: make(chan struct{}, 1)}
}

// Unsupported returns what is known to be missing.
func (f *Features) Unsupported() Unsupported {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.missing
}

// Changed receives after [Features.HandleError] has found more to be missing, so that
// something else has to be published.
func (f *Features) Changed() <-chan struct{} { return f.changed }

// Probe asks the API server which fields it would drop, without storing anything, for
// slices of the cluster or, if it has a name, of a node. Publishing would tell as well,
// but on such a cluster each restart would replace the exclusive devices for a moment,
// and a claim could get what should not be there.
func (f *Features) Probe(ctx context.Context, client kubernetes.Interface, driver, node string) {
	missing, err := probe(ctx, client, driver, node)
	if err != nil {
		// What is published will tell.
		klog.FromContext(ctx).Error(err, "Publishing as if the API server supported all fields")
	}
	f.add(ctx, missing)
}

func probe(ctx context.Context, client kubernetes.Interface, driver, node string) (Unsupported, error) {
	slice := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
		Spec: resourceapi.ResourceSliceSpec{
			Driver: driver,
			Pool:   resourceapi.ResourcePool{Name: "probe", ResourceSliceCount: 1},
			Devices: []resourceapi.Device{{
				Name:                     "space",
				AllowMultipleAllocations: ptr.To(true),
				BindingConditions:        []string{spaceapi.ConditionReady},
				BindingFailureConditions: []string{spaceapi.ConditionFailed},
			}},
		},
	}
	if node == "" {
		slice.Spec.AllNodes = ptr.To(true)
	} else {
		slice.Spec.NodeName = &node
	}
	kept, err := client.ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return Unsupported{}, fmt.Errorf("probe which fields of ResourceSlices the API server supports: %w", err)
	}
	if len(kept.Spec.Devices) != 1 {
		return Unsupported{}, fmt.Errorf("probe which fields of ResourceSlices the API server supports: got %d devices in place of one", len(kept.Spec.Devices))
	}
	device := kept.Spec.Devices[0]
	return Unsupported{ShareableDevices: device.AllowMultipleAllocations == nil, BindingConditions: len(device.BindingConditions) == 0}, nil
}

// HandleError handles the errors of the library that publishes the slices. It logs all
// but those for which there is a fallback.
func (f *Features) HandleError(ctx context.Context, err error, msg string) {
	var dropped *resourceslice.DroppedFieldsError
	if !errors.As(err, &dropped) {
		utilruntime.HandleErrorWithContext(ctx, err, msg)
		return
	}
	features := dropped.DisabledFeatures()
	if f.add(ctx, Unsupported{
		ShareableDevices:  slices.Contains(features, shareableFeature),
		BindingConditions: slices.Contains(features, bindingFeature),
	}) {
		select {
		case f.changed <- struct{}{}:
		default: // The last change was not yet received.
		}
	}
	if len(features) == 0 || slices.ContainsFunc(features, func(name string) bool { return name != shareableFeature && name != bindingFeature }) {
		utilruntime.HandleErrorWithContext(ctx, err, msg)
	}
}

// add adds what is missing, and reports whether that was not known.
func (f *Features) add(ctx context.Context, missing Unsupported) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	before := f.missing
	f.missing.ShareableDevices = before.ShareableDevices || missing.ShareableDevices
	f.missing.BindingConditions = before.BindingConditions || missing.BindingConditions
	for _, p := range f.pools.Pools {
		f.pools.logMissing(ctx, p, before, f.missing)
	}
	return f.missing != before
}

// logMissing logs what newly missing features mean for a pool.
func (s Set) logMissing(ctx context.Context, p Pool, before, now Unsupported) {
	logger := klog.FromContext(ctx)
	if now.BindingConditions && !before.BindingConditions && s.binds(p) {
		logger.Info("This cluster does not support binding conditions (feature "+bindingFeature+"): pods are bound to nodes before their spaces are ready", logkeys.Pool, p.Name)
	}
	if !now.ShareableDevices || before.ShareableDevices {
		return
	}
	meaning := ""
	switch {
	case p.Budget != nil:
		meaning = ", so the number of spaces is limited to those of the default size that fit, and no space gets a quota from the budget"
	case p.Limit == nil && p.PerNode == nil:
		meaning = ", so the number of spaces is limited"
	}
	logger.Info("This cluster does not support shareable devices (feature "+shareableFeature+"): publishing exclusive devices instead"+meaning,
		logkeys.Pool, p.Name, "limit", s.exclusive(p))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// What the slice controller calls the feature gates behind AllowMultipleAllocations,
// BindingConditions, and the NodeName of devices.
const (
	shareableFeature = "DRAConsumableCapacity"
	bindingFeature   = "DRADeviceBindingConditions"
	nodesFeature     = "DRAPartitionableDevices"
)

// lacks says which fields of devices a cluster drops.
type lacks struct {
	// shareable: a device is one claim's, and its capacities are never consumed.
	shareable bool
	// binding: the scheduler does not wait for conditions.
	binding bool
	// nodes: a device does not name its node, so that its slice has to select it.
	nodes bool
}

// probe asks the API server which fields it would drop, without storing anything.
// Publishing would tell as well, but on such a cluster each start of the controller
// would replace the exclusive devices for a moment, and a claim could get what
// should not be there. Devices with nodes of their own are asked for only where there are
// to be any, as it takes another question: without the field, the slice is refused.
func (s Set) probe(ctx context.Context, client kubernetes.Interface, driver string) (lacks, error) {
	known, err := probeShared(ctx, client, driver)
	if err != nil || !s.hasPerNode() {
		return known, err
	}
	slice := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
		Spec: resourceapi.ResourceSliceSpec{
			Driver:                 driver,
			Pool:                   resourceapi.ResourcePool{Name: "probe", ResourceSliceCount: 1},
			PerDeviceNodeSelection: ptr.To(true),
			Devices:                []resourceapi.Device{{Name: "space", NodeName: ptr.To("probe")}},
		},
	}
	kept, err := client.ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	known.nodes = err != nil || len(kept.Spec.Devices) != 1 || kept.Spec.Devices[0].NodeName == nil
	if err != nil && !apierrors.IsInvalid(err) {
		return known, fmt.Errorf("try whether devices in ResourceSlices can name their nodes: %w", err)
	}
	return known, nil
}

// probeShared asks for what all pools may need.
func probeShared(ctx context.Context, client kubernetes.Interface, driver string) (lacks, error) {
	slice := &resourceapi.ResourceSlice{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "probe-"},
		Spec: resourceapi.ResourceSliceSpec{
			Driver:   driver,
			Pool:     resourceapi.ResourcePool{Name: "probe", ResourceSliceCount: 1},
			AllNodes: ptr.To(true),
			Devices: []resourceapi.Device{{
				Name:                     "space",
				AllowMultipleAllocations: ptr.To(true),
				BindingConditions:        []string{spaceapi.ConditionReady},
				BindingFailureConditions: []string{spaceapi.ConditionFailed},
			}},
		},
	}
	kept, err := client.ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return lacks{}, fmt.Errorf("try which fields of ResourceSlices the cluster keeps: %w", err)
	}
	if len(kept.Spec.Devices) != 1 {
		return lacks{}, fmt.Errorf("try which fields of ResourceSlices the cluster keeps: it has %d devices in place of one", len(kept.Spec.Devices))
	}
	device := kept.Spec.Devices[0]
	return lacks{shareable: device.AllowMultipleAllocations == nil, binding: len(device.BindingConditions) == 0}, nil
}

// sayLacks tells the log what it means that a cluster lacks more than was known.
func (s Set) sayLacks(ctx context.Context, known, now lacks) {
	logger := klog.FromContext(ctx)
	if now.binding && !known.binding {
		for _, p := range s.Pools {
			if s.binds(p) {
				logger.Info("This cluster does not know binding conditions (feature "+bindingFeature+"): pods are bound to nodes before their spaces are ready", logkeys.Pool, p.Name)
			}
		}
	}
	if !now.shareable || known.shareable {
		return
	}
	for _, p := range s.Pools {
		meaning := ""
		switch {
		case p.Budget != nil:
			meaning = ", so the number of spaces is limited to those of the default size that fit, and no space gets a quota from the budget"
		case p.Limit == nil && p.PerNode == nil:
			meaning = ", so the number of spaces is limited"
		}
		logger.Info("This cluster does not know shareable devices (feature "+shareableFeature+"): publishing exclusive devices instead"+meaning,
			logkeys.Pool, p.Name, "limit", s.exclusive(p))
	}
}

// drops notices which fields the API server drops.
type drops struct {
	mutex sync.Mutex
	lacks lacks
	// changed has something in it after more was noticed.
	changed chan struct{}
}

func newDrops(known lacks) *drops {
	return &drops{lacks: known, changed: make(chan struct{}, 1)}
}

func (d *drops) seen() lacks {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.lacks
}

// handle is the slice controller's error handler.
func (d *drops) handle(ctx context.Context, err error, msg string) {
	var dropped *resourceslice.DroppedFieldsError
	if !errors.As(err, &dropped) {
		// It may be another API server than the one that was asked before, and an older one.
		d.notice(lacks{nodes: apierrors.IsInvalid(err)})
		utilruntime.HandleErrorWithContext(ctx, err, msg)
		return
	}
	features := dropped.DisabledFeatures()
	d.notice(lacks{
		shareable: slices.Contains(features, shareableFeature),
		binding:   slices.Contains(features, bindingFeature),
		nodes:     slices.Contains(features, nodesFeature),
	})
	ours := []string{shareableFeature, bindingFeature, nodesFeature}
	if len(features) == 0 || slices.ContainsFunc(features, func(f string) bool { return !slices.Contains(ours, f) }) {
		utilruntime.HandleErrorWithContext(ctx, err, msg)
	}
}

// notice takes note of what is lacking, and says so if it is news.
func (d *drops) notice(more lacks) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	before := d.lacks
	d.lacks.shareable = before.shareable || more.shareable
	d.lacks.binding = before.binding || more.binding
	d.lacks.nodes = before.nodes || more.nodes
	if d.lacks == before {
		return
	}
	select {
	case d.changed <- struct{}{}:
	default: // It was not looked at since the last change.
	}
}

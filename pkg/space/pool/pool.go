// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pool describes the devices that the driver offers and keeps them
// published as ResourceSlices.
package pool

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// DefaultName is the name of the pool that every installation has.
const DefaultName = "spaces"

// Pool is a pool of spaces without a limit.
type Pool struct {
	Name string
	// NodeSelector selects the nodes that run the kubelet plugin by their labels.
	// Empty: all nodes.
	NodeSelector map[string]string
	// Exclusive is how many devices stand in for the shareable one where the
	// cluster does not know shareable devices. It is the limit of spaces then.
	Exclusive int
	// BindingConditions lets the scheduler wait for a space before it binds a pod
	// to a node. It looks every five seconds, so this takes time.
	BindingConditions bool
}

// Shareable describes the pool as one device that any number of claims can have
// at once. Each of them gets a share with an ID of its own.
func (p Pool) Shareable() *resourceslice.DriverResources {
	device := p.device("space")
	device.AllowMultipleAllocations = ptr.To(true)
	return p.resources([]resourceapi.Device{device})
}

// Fallback describes the pool as devices that one claim each can have, for
// clusters that drop AllowMultipleAllocations. Left as it is, the shareable
// device would be a single space for the whole cluster there.
func (p Pool) Fallback() *resourceslice.DriverResources {
	devices := make([]resourceapi.Device, 0, p.Exclusive)
	for i := range p.Exclusive {
		devices = append(devices, p.device(fmt.Sprintf("space-%d", i)))
	}
	return p.resources(devices)
}

func (p Pool) device(name string) resourceapi.Device {
	device := resourceapi.Device{Name: name}
	if p.BindingConditions {
		// Kubernetes wants both lists or none.
		device.BindingConditions = []string{spaceapi.ConditionReady}
		device.BindingFailureConditions = []string{spaceapi.ConditionFailed}
	}
	return device
}

func (p Pool) resources(devices []resourceapi.Device) *resourceslice.DriverResources {
	pool := resourceslice.Pool{AllNodes: true}
	if len(p.NodeSelector) > 0 {
		pool.AllNodes = false
		pool.NodeSelector = nodeSelector(p.NodeSelector)
	}
	for len(devices) > 0 {
		n := min(len(devices), resourceapi.ResourceSliceMaxDevices)
		pool.Slices = append(pool.Slices, resourceslice.Slice{Devices: devices[:n]})
		devices = devices[n:]
	}
	return &resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{p.Name: pool}}
}

func nodeSelector(labels map[string]string) *corev1.NodeSelector {
	var requirements []corev1.NodeSelectorRequirement
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		requirements = append(requirements, corev1.NodeSelectorRequirement{
			Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{labels[key]},
		})
	}
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: requirements}}}
}

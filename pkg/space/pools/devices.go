// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"fmt"
	"slices"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// devices returns the devices of a pool, or of its part for one node.
//
// Where devices can be shared, a limit is a capacity of one shareable device, of
// which each space consumes one: each space has a share ID then, which tells it
// from any other, and changing the limit changes one number. Where they can't, a
// shareable device would be a single space for the whole cluster, so that as many
// exclusive devices as there may be spaces take its place.
func (s Set) devices(p Pool, missing Unsupported) []resourceapi.Device {
	device := resourceapi.Device{
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			spaceapi.PoolAttribute: {StringValue: ptr.To(p.Name)},
		},
	}
	for name, value := range p.Attributes {
		// What can't be an attribute was refused.
		if a, err := attribute(value); err == nil {
			device.Attributes[resourceapi.QualifiedName(name)] = a
		}
	}
	if !missing.BindingConditions && s.binds(p) {
		// Kubernetes wants both lists or none.
		device.BindingConditions = []string{spaceapi.ConditionReady}
		device.BindingFailureConditions = []string{spaceapi.ConditionFailed}
	}
	if missing.ShareableDevices {
		devices := make([]resourceapi.Device, s.exclusive(p))
		for i := range devices {
			devices[i] = *device.DeepCopy()
			devices[i].Name = fmt.Sprintf("space-%d", i)
		}
		return devices
	}
	device.Name = "space"
	device.AllowMultipleAllocations = ptr.To(true)
	device.Capacity = p.capacity()
	return []resourceapi.Device{device}
}

// binds reports whether the scheduler waits for a pool's spaces.
func (s Set) binds(p Pool) bool {
	return ptr.Deref(p.BindingConditions, s.BindingConditions)
}

// exclusive is how many devices stand in for the shareable one. A budget's
// devices are as many as it has room for spaces of the default size.
func (s Set) exclusive(p Pool) int {
	if p.PerNode != nil {
		return int(*p.PerNode.Limit)
	}
	n := int64(s.Exclusive)
	if p.Limit != nil {
		n = *p.Limit
	}
	if p.Budget != nil {
		for name, total := range p.Budget.Total {
			if size := p.Budget.Default[name]; size.MilliValue() > 0 {
				n = min(n, total.MilliValue()/size.MilliValue())
			}
		}
	}
	return int(n)
}

// capacity is what the spaces of a shareable device consume. Nil: nothing, so
// that there is no limit.
func (p Pool) capacity() map[resourceapi.QualifiedName]resourceapi.DeviceCapacity {
	out := map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{}
	limit := p.Limit
	if p.PerNode != nil {
		limit = p.PerNode.Limit
	}
	if limit != nil {
		one := *resource.NewQuantity(1, resource.DecimalSI)
		out[spaceapi.SpacesCapacity] = resourceapi.DeviceCapacity{
			Value: *resource.NewQuantity(*limit, resource.DecimalSI),
			// Whatever a claim asks for, a space is one space.
			RequestPolicy: &resourceapi.CapacityRequestPolicy{Default: &one, ValidValues: []resource.Quantity{one}},
		}
	}
	if p.Budget != nil {
		for name, total := range p.Budget.Total {
			out[resourceapi.QualifiedName(name)] = resourceapi.DeviceCapacity{Value: total, RequestPolicy: p.Budget.policy(name)}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (b Budget) policy(name string) *resourceapi.CapacityRequestPolicy {
	// Without a minimum, a claim could ask for less than nothing, which the
	// scheduler takes for a fatal error.
	valid := &resourceapi.CapacityRequestPolicyRange{Min: ptr.To(b.Min[name])}
	if most, found := b.Max[name]; found {
		valid.Max = &most
	}
	if step, found := b.Step[name]; found {
		valid.Step = &step
	}
	return &resourceapi.CapacityRequestPolicy{Default: ptr.To(b.Default[name]), ValidRange: valid}
}

// toSlices distributes devices over as few ResourceSlices as possible.
func toSlices(devices []resourceapi.Device) []resourceslice.Slice {
	var out []resourceslice.Slice
	for chunk := range slices.Chunk(devices, resourceapi.ResourceSliceMaxDevices) {
		out = append(out, resourceslice.Slice{Devices: chunk})
	}
	return out
}

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
// If the cluster supports shareable devices, there is one device. Its capacity is the limit, of
// which each space consumes one. Each space then has a share ID. If the cluster does not support
// them, only one claim could use that device, so that there is a dedicated device for each
// space instead.
func (s Set) devices(p Pool, unsupported Unsupported) []resourceapi.Device {
	device := resourceapi.Device{
		Attributes: map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{
			spaceapi.PoolAttribute: {StringValue: ptr.To(p.Name)},
		},
	}
	for name, value := range p.Attributes {
		// Validation rejects other values.
		if a, err := attribute(value); err == nil {
			device.Attributes[resourceapi.QualifiedName(name)] = a
		}
	}
	if !unsupported.BindingConditions && s.hasBindingConditions(p) {
		// Kubernetes requires both lists or none.
		device.BindingConditions = []string{spaceapi.ConditionReady}
		device.BindingFailureConditions = []string{spaceapi.ConditionBindingFailed}
	}
	if unsupported.ShareableDevices {
		devices := make([]resourceapi.Device, s.dedicatedDeviceCount(p))
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

func (s Set) hasBindingConditions(p Pool) bool {
	return ptr.Deref(p.BindingConditions, s.BindingConditions)
}

// dedicatedDeviceCount returns the number of devices that replace the shareable one. For a
// budget, it is the number of spaces of the default size that fit.
func (s Set) dedicatedDeviceCount(p Pool) int {
	n := ptr.Deref(p.limit(), int64(s.DedicatedDevices))
	if p.Budget != nil {
		for name, total := range p.Budget.Total {
			if size := p.Budget.Default[name]; size.MilliValue() > 0 {
				n = min(n, total.MilliValue()/size.MilliValue())
			}
		}
	}
	return int(n)
}

// limit returns the maximum number of spaces in the pool, or on each node, or nil.
func (p Pool) limit() *int64 {
	if p.PerNode != nil {
		return p.PerNode.Limit
	}
	return p.Limit
}

// capacity returns the capacity of a shareable device that spaces consume, or nil if
// the pool has no limit.
func (p Pool) capacity() map[resourceapi.QualifiedName]resourceapi.DeviceCapacity {
	out := map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{}
	if limit := p.limit(); limit != nil {
		one := *resource.NewQuantity(1, resource.DecimalSI)
		out[spaceapi.SpacesCapacity] = resourceapi.DeviceCapacity{
			Value: *resource.NewQuantity(*limit, resource.DecimalSI),
			// A space consumes one, whatever its claim requests.
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

// policy returns how much of a capacity a space can request.
func (b Budget) policy(name string) *resourceapi.CapacityRequestPolicy {
	// Without a minimum, a claim could request a negative amount, which is a fatal
	// error for the scheduler.
	valid := &resourceapi.CapacityRequestPolicyRange{Min: ptr.To(b.Min[name])}
	if limit, found := b.Max[name]; found {
		valid.Max = &limit
	}
	if step, found := b.Step[name]; found {
		valid.Step = &step
	}
	return &resourceapi.CapacityRequestPolicy{Default: ptr.To(b.Default[name]), ValidRange: valid}
}

// DefaultPart returns the part of the budget of a pool that a space gets without a request. It is nil if
// the pool has no budget.
func DefaultPart(pools []Pool, name string) map[resourceapi.QualifiedName]resource.Quantity {
	out := map[resourceapi.QualifiedName]resource.Quantity{}
	for _, p := range pools {
		if p.Name == name && p.Budget != nil {
			for capacity, amount := range p.Budget.Default {
				out[resourceapi.QualifiedName(capacity)] = amount
			}
		}
	}
	return out
}

// toSlices distributes devices over as few ResourceSlices as possible.
func toSlices(devices []resourceapi.Device) []resourceslice.Slice {
	var out []resourceslice.Slice
	for chunk := range slices.Chunk(devices, resourceapi.ResourceSliceMaxDevices) {
		out = append(out, resourceslice.Slice{Devices: chunk})
	}
	return out
}

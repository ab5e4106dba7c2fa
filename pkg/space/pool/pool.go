// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pool describes the devices that the driver offers and keeps them
// published as ResourceSlices.
package pool

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Set is all pools of an installation, with what holds for each of them.
type Set struct {
	Pools []Pool
	// NodeSelector selects the nodes that run the kubelet plugin by their labels.
	// Empty: all nodes.
	NodeSelector map[string]string
	// Exclusive is how many spaces a pool without a limit has where the cluster
	// does not know shareable devices.
	Exclusive int
	// BindingConditions is for pools that do not say.
	BindingConditions bool
}

// Node is what matters of a node.
type Node struct {
	Name   string
	Labels map[string]string
}

// binds says whether the scheduler is to wait for a pool's spaces.
func (s Set) binds(p Pool) bool {
	return ptr.Deref(p.BindingConditions, s.BindingConditions)
}

// hasPerNode says whether there is a pool for each node, so that nodes matter.
func (s Set) hasPerNode() bool {
	return slices.ContainsFunc(s.Pools, func(p Pool) bool { return p.PerNode != nil })
}

// resources describes the pools, for these nodes, to a cluster that lacks
// something or nothing.
func (s Set) resources(nodes []Node, cluster lacks) *resourceslice.DriverResources {
	out := map[string]resourceslice.Pool{}
	for _, p := range s.Pools {
		devices := s.devices(p, cluster)
		if p.PerNode == nil {
			out[p.Name] = toSlices(devices, s.selector(p))
			continue
		}
		wanted := labels.SelectorFromValidatedSet(p.NodeSelector)
		for _, node := range nodes {
			if wanted.Matches(labels.Set(node.Labels)) {
				out[perNodeName(p.Name, node.Name)] = onNode(devices, node.Name, cluster)
			}
		}
	}
	return &resourceslice.DriverResources{Pools: out}
}

// devices describes what a pool, or its part for one node, has.
//
// Where devices can be shared, a limit is a capacity of one shareable device, of
// which each space consumes one: each space has a share ID then, which tells it
// from any other, and changing the limit changes one number. Where they can't, a
// shareable device would be a single space for the whole cluster, so that as many
// exclusive devices as there may be spaces take its place.
func (s Set) devices(p Pool, cluster lacks) []resourceapi.Device {
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
	if !cluster.binding && s.binds(p) {
		// Kubernetes wants both lists or none.
		device.BindingConditions = []string{spaceapi.ConditionReady}
		device.BindingFailureConditions = []string{spaceapi.ConditionFailed}
	}
	if cluster.shareable {
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
		out[spaceapi.SlotCapacity] = resourceapi.DeviceCapacity{
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

func toSlices(devices []resourceapi.Device, selector *corev1.NodeSelector) resourceslice.Pool {
	pool := resourceslice.Pool{AllNodes: selector == nil, NodeSelector: selector}
	for chunk := range slices.Chunk(devices, resourceapi.ResourceSliceMaxDevices) {
		pool.Slices = append(pool.Slices, resourceslice.Slice{Devices: chunk})
	}
	return pool
}

// onNode describes devices that only pods on a node can have. The scheduler looks at the
// devices of all nodes for each node that it tries: to compare a name takes it next to
// nothing, and a selector is parsed each time.
func onNode(devices []resourceapi.Device, node string, cluster lacks) resourceslice.Pool {
	if cluster.nodes {
		return toSlices(devices, onlyOn(node))
	}
	devices = slices.Clone(devices)
	for i := range devices {
		devices[i].NodeName = &node
	}
	pool := toSlices(devices, nil)
	pool.AllNodes = false
	for i := range pool.Slices {
		pool.Slices[i].PerDeviceNodeSelection = ptr.To(true)
	}
	return pool
}

// selector selects the nodes that run the plugin and that the pool is for, or is nil.
func (s Set) selector(p Pool) *corev1.NodeSelector {
	var requirements []corev1.NodeSelectorRequirement
	add := func(labels map[string]string) {
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			requirements = append(requirements, corev1.NodeSelectorRequirement{
				Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{labels[key]},
			})
		}
	}
	add(s.NodeSelector)
	add(p.NodeSelector)
	if len(requirements) == 0 {
		return nil
	}
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: requirements}}}
}

func onlyOn(node string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{
			Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}},
	}}}
}

// perNodeName has a slash, which neither part can have, so that no two pools meet.
func perNodeName(pool, node string) string {
	if room := resourceapi.PoolNameMaxLength - len(pool) - 1; len(node) > room {
		node = fmt.Sprintf("%x", sha256.Sum256([]byte(node)))[:32]
	}
	return pool + "/" + node
}

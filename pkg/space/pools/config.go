// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pools describes the devices that the driver offers. The controller publishes those of
// pools for the cluster in ResourceSlices. The kubelet plugin of each node publishes those of
// pools per node.
package pools

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// DefaultName is the name of the pool if none is configured.
const DefaultName = "spaces"

// Config is the file that describes the pools.
type Config struct {
	Pools []Pool `json:"pools"`
}

// Pool describes one pool of spaces. One with only a name has no limit.
type Pool struct {
	// Name is a DNS label. The scheduler tries pools in the order of their names.
	Name string `json:"name"`
	// Limit is the maximum number of spaces in the cluster. If nil, there is no limit.
	Limit *int64 `json:"limit,omitempty"`
	// PerNode makes the pool a pool per node: only pods on a node can use the spaces of the node's part.
	PerNode *PerNode `json:"perNode,omitempty"`
	// Budget has the amounts that the spaces of the pool share.
	Budget *Budget `json:"budget,omitempty"`
	// NodeSelector selects nodes by their labels, among those that run the kubelet plugin.
	// Only pods on these nodes can have spaces of this pool. If empty, it selects all nodes.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Attributes are attributes of the pool's devices, in the driver's domain:
	// strings, integers, booleans, and versions, written as {version: 1.2.3}.
	Attributes map[string]any `json:"attributes,omitempty"`
	// BindingConditions makes the scheduler wait for a space before it binds a pod
	// to a node. It checks every five seconds, so pods start later. If absent,
	// the default of the installation applies.
	BindingConditions *bool `json:"bindingConditions,omitempty"`
}

// PerNode describes the part that each node has of a pool per node.
type PerNode struct {
	// Limit is the maximum number of spaces on each node. It is required.
	Limit *int64 `json:"limit"`
}

// Budget has amounts by capacity, such as cpu, memory and pods. A space gets what its claim
// requests, rounded up by Min and Step. The sum for all spaces never exceeds the total.
type Budget struct {
	// Total is the amount for all spaces together.
	Total map[string]resource.Quantity `json:"total"`
	// Default is the amount for claims without a request. Each capacity in Total needs one:
	// without it, the first space would get everything.
	Default map[string]resource.Quantity `json:"default"`
	// Min is the minimum amount for a space. The default is zero.
	Min map[string]resource.Quantity `json:"min,omitempty"`
	// Max is the maximum amount that a claim can request. The default is the total.
	Max map[string]resource.Quantity `json:"max,omitempty"`
	// Step is an integer. Amounts are the sum of Min and a multiple of Step. Without it, any
	// amount is possible.
	Step map[string]resource.Quantity `json:"step,omitempty"`
}

// Set is the pools of an installation, with their defaults.
type Set struct {
	Pools []Pool
	// NodeSelector selects the nodes that run the kubelet plugin by their labels. If empty, it
	// selects all nodes.
	NodeSelector map[string]string
	// DedicatedDevices is the number of devices in a pool without a limit if the cluster does not
	// support shareable devices. It is also the maximum for a pool with a budget.
	DedicatedDevices int
	// BindingConditions is the default for pools.
	BindingConditions bool
}

// ForCluster returns the part of the set that the controller publishes.
func (s Set) ForCluster() Set {
	s.Pools = slices.DeleteFunc(slices.Clone(s.Pools), func(p Pool) bool { return p.PerNode != nil })
	return s
}

// ForNodes returns the part of the set that kubelet plugins publish.
func (s Set) ForNodes() Set {
	s.Pools = slices.DeleteFunc(slices.Clone(s.Pools), func(p Pool) bool { return p.PerNode == nil })
	return s
}

// Load reads and validates a file with a [Config] in YAML or JSON.
func Load(file string) ([]Pool, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the pool configuration: %w", err)
	}
	pools, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("invalid pool configuration in %s: %w", file, err)
	}
	return pools, nil
}

// Parse decodes and validates a [Config] in YAML or JSON. Unknown fields are errors.
func Parse(raw []byte) ([]Pool, error) {
	raw, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		return nil, err
	}
	var config Config
	strict, err := kjson.UnmarshalStrict(raw, &config)
	if err := errors.Join(append(strict, err)...); err != nil {
		return nil, err
	}
	if err := validate(config).ToAggregate(); err != nil {
		return nil, err
	}
	return config.Pools, nil
}

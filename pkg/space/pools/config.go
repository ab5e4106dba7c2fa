// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pools describes the devices that the driver offers. The controller
// publishes them as ResourceSlices of the cluster, and of pools per node the
// kubelet plugin of each node publishes its part.
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

// DefaultName is the name of the pool that an installation has unless it is
// configured otherwise.
const DefaultName = "spaces"

// Config is the file that describes the pools.
type Config struct {
	Pools []Pool `json:"pools"`
}

// Pool describes one pool of spaces. With nothing but a name it has no limit.
type Pool struct {
	// Name is a DNS label. Pools are tried in the order of their names.
	Name string `json:"name"`
	// Limit is how many spaces the pool has in the whole cluster.
	Limit *int64 `json:"limit,omitempty"`
	// PerNode makes a pool for each node, whose spaces only pods on that node can have.
	PerNode *PerNode `json:"perNode,omitempty"`
	// Budget is what the spaces of the pool have together.
	Budget *Budget `json:"budget,omitempty"`
	// NodeSelector selects nodes by their labels, among those that run the kubelet
	// plugin: only their pods can have spaces of this pool. Empty: all of them.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Attributes are attributes of the pool's devices, in the driver's domain, for
	// selectors to use: strings, whole numbers, booleans, and versions, which are
	// written as {version: 1.2.3}.
	Attributes map[string]any `json:"attributes,omitempty"`
	// BindingConditions lets the scheduler wait for a space before it binds a pod
	// to a node. It looks every five seconds, so this takes time. Absent: as the
	// installation has it.
	BindingConditions *bool `json:"bindingConditions,omitempty"`
}

// PerNode describes the pool of each node.
type PerNode struct {
	// Limit is how many spaces each node has.
	Limit *int64 `json:"limit"`
}

// Budget describes amounts by name: cpu, memory, pods, and so on. A space gets
// what its claim asks for, rounded up to what is allowed here, and the sum of all
// spaces is never more than the total.
type Budget struct {
	// Total is what all spaces have together.
	Total map[string]resource.Quantity `json:"total"`
	// Default is what a space gets whose claim does not say. Each name in Total
	// needs one: without it, the first space would get everything.
	Default map[string]resource.Quantity `json:"default"`
	// Min is the least that a space gets. Absent: zero.
	Min map[string]resource.Quantity `json:"min,omitempty"`
	// Max is the most that a claim may ask for. Absent: the total.
	Max map[string]resource.Quantity `json:"max,omitempty"`
	// Step is what amounts are multiples of, counted from Min: a whole number.
	// Absent: any amount.
	Step map[string]resource.Quantity `json:"step,omitempty"`
}

// Set is all pools of an installation, with what holds for each of them.
type Set struct {
	Pools []Pool
	// NodeSelector selects the nodes that run the kubelet plugin by their labels.
	// Empty: all nodes.
	NodeSelector map[string]string
	// Exclusive is how many spaces a pool without a limit has where the cluster
	// does not support shareable devices.
	Exclusive int
	// BindingConditions is for pools that do not say.
	BindingConditions bool
}

// Cluster returns the part of the set that the controller publishes.
func (s Set) Cluster() Set {
	s.Pools = slices.DeleteFunc(slices.Clone(s.Pools), func(p Pool) bool { return p.PerNode != nil })
	return s
}

// PerNode returns the part of the set that kubelet plugins publish.
func (s Set) PerNode() Set {
	s.Pools = slices.DeleteFunc(slices.Clone(s.Pools), func(p Pool) bool { return p.PerNode == nil })
	return s
}

// Default is what an installation has that describes no pools.
func Default() []Pool {
	return []Pool{{Name: DefaultName}}
}

// Load reads a file in YAML or JSON with a [Config] and checks it.
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

// Parse reads a [Config] in YAML or JSON and checks it. Unknown fields are refused.
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

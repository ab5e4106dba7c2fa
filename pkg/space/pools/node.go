// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"crypto/sha256"
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

// NodeResources returns what the kubelet plugin of a node publishes: the node's part of each pool per
// node whose selector matches the node's labels.
func (s Set) NodeResources(node string, nodeLabels map[string]string, unsupported Unsupported) resourceslice.DriverResources {
	out := map[string]resourceslice.Pool{}
	for _, p := range s.ForNodes().Pools {
		if labels.SelectorFromValidatedSet(p.NodeSelector).Matches(labels.Set(nodeLabels)) {
			// The library sets the node of the slices.
			out[nameOnNode(p.Name, node)] = resourceslice.Pool{Slices: toSlices(s.devices(p, unsupported))}
		}
	}
	return resourceslice.DriverResources{Pools: out}
}

// nameOnNode returns the name of a node's part of a pool. It has to be unique in the cluster,
// because an allocation identifies a device by driver, pool and device. The names of pools and
// nodes have no slash.
func nameOnNode(pool, node string) string {
	if room := resourceapi.PoolNameMaxLength - len(pool) - 1; len(node) > room {
		node = fmt.Sprintf("%x", sha256.Sum256([]byte(node)))[:32]
	}
	return pool + "/" + node
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pools

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

// syncDelay is the delay after which the publisher corrects slices that other clients changed, or
// that an earlier process published.
const syncDelay = 5 * time.Second

// Publisher publishes the ResourceSlices of pools for the cluster. Only one can run for
// a driver name at a time: it deletes all other slices that belong to no node.
type Publisher struct {
	Driver string
	Client kubernetes.Interface
	Pools  Set
	// Owner is a cluster-scoped object. Garbage collection deletes the slices with it.
	// If nil, the slices remain when the driver is uninstalled.
	Owner *resourceslice.Owner
}

// Run publishes until ctx is done, and then returns nil. The slices remain.
func (p Publisher) Run(ctx context.Context) error {
	features := NewFeatures(p.Pools.ForCluster())
	features.Probe(ctx, p.Client, p.Driver, "")
	controller, err := resourceslice.StartController(ctx, resourceslice.Options{
		DriverName:   p.Driver,
		KubeClient:   p.Client,
		Owner:        p.Owner,
		Resources:    ptr.To(p.Pools.ClusterResources(features.Unsupported())),
		SyncDelay:    ptr.To(syncDelay),
		ErrorHandler: features.HandleError,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("publish ResourceSlices of driver %s: %w", p.Driver, err)
	}
	defer controller.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-features.Changed():
			controller.Update(ptr.To(p.Pools.ClusterResources(features.Unsupported())))
		}
	}
}

// ClusterResources returns what the controller publishes: the pools for the cluster.
func (s Set) ClusterResources(unsupported Unsupported) resourceslice.DriverResources {
	out := map[string]resourceslice.Pool{}
	for _, p := range s.ForCluster().Pools {
		selector := s.selector(p)
		out[p.Name] = resourceslice.Pool{AllNodes: selector == nil, NodeSelector: selector, Slices: toSlices(s.devices(p, unsupported))}
	}
	return resourceslice.DriverResources{Pools: out}
}

// selector returns a selector of the nodes of a pool that run the plugin, or nil for all nodes.
func (s Set) selector(p Pool) *corev1.NodeSelector {
	var requirements []corev1.NodeSelectorRequirement
	for _, labels := range []map[string]string{s.NodeSelector, p.NodeSelector} {
		for _, key := range slices.Sorted(maps.Keys(labels)) {
			requirements = append(requirements, corev1.NodeSelectorRequirement{
				Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{labels[key]},
			})
		}
	}
	if len(requirements) == 0 {
		return nil
	}
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: requirements}}}
}

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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/utils/ptr"
)

// syncDelay is how long after a change somebody else made to a slice it is looked
// at, and how long a pool outlives its description when the controller restarts.
const syncDelay = 5 * time.Second

// Publisher keeps the ResourceSlices of pools for the cluster published. Only one may
// run per driver name at a time: it deletes all others that belong to no node.
type Publisher struct {
	Driver string
	Client kubernetes.Interface
	Pools  Set
	// Owner is a cluster-scoped object; garbage collection removes the slices
	// with it. Nil: the slices outlive the driver.
	Owner *resourceslice.Owner
}

// Run publishes until the context ends. The slices stay.
func (p Publisher) Run(ctx context.Context) error {
	features := NewFeatures(p.Pools.Cluster())
	features.Probe(ctx, p.Client, p.Driver, "")
	controller, err := resourceslice.StartController(ctx, resourceslice.Options{
		DriverName:   p.Driver,
		KubeClient:   p.Client,
		Owner:        p.Owner,
		Resources:    ptr.To(p.Pools.OnCluster(features.Unsupported())),
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
			controller.Update(ptr.To(p.Pools.OnCluster(features.Unsupported())))
		}
	}
}

// ClusterRoleOwner makes a ClusterRole the slices' owner.
func ClusterRoleOwner(name string, uid types.UID) *resourceslice.Owner {
	return &resourceslice.Owner{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: name, UID: uid}
}

// OnCluster returns what the controller publishes.
func (s Set) OnCluster(missing Unsupported) resourceslice.DriverResources {
	out := map[string]resourceslice.Pool{}
	for _, p := range s.Cluster().Pools {
		selector := s.selector(p)
		out[p.Name] = resourceslice.Pool{AllNodes: selector == nil, NodeSelector: selector, Slices: toSlices(s.devices(p, missing))}
	}
	return resourceslice.DriverResources{Pools: out}
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

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// syncDelay is how long after a change somebody else made to a slice it is looked
// at, and how long a pool outlives its description when the controller restarts.
const syncDelay = 5 * time.Second

// Publisher keeps the ResourceSlices of all pools as they should be. Only one may
// run per driver name at a time: it deletes what it does not know.
type Publisher struct {
	Driver string
	Client kubernetes.Interface
	// Metadata is for following nodes, where there is a pool for each of them.
	Metadata metadata.Interface
	Pools    Set
	// Owner is a cluster-scoped object; garbage collection removes the slices
	// with it. Nil: the slices outlive the driver.
	Owner *resourceslice.Owner
}

// Run publishes until the context ends. The slices stay.
func (p Publisher) Run(ctx context.Context) error {
	following := &nodes{}
	list := func() []Node { return nil }
	if p.Pools.hasPerNode() {
		var err error
		if following, err = followNodes(ctx, p.Metadata, p.Pools.NodeSelector); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("publish ResourceSlices of driver %s: %w", p.Driver, err)
		}
		list = following.list
	}
	known, err := p.Pools.probe(ctx, p.Client, p.Driver)
	if err != nil {
		// What is published will tell.
		klog.FromContext(ctx).Error(err, "Publishing as if the cluster kept all fields")
	}
	p.Pools.sayLacks(ctx, lacks{}, known)
	drops := newDrops(known)
	published := p.Pools.resources(list(), known)
	queue := newSelective()
	controller, err := resourceslice.StartController(ctx, resourceslice.Options{
		DriverName:   p.Driver,
		KubeClient:   p.Client,
		Owner:        p.Owner,
		Resources:    published,
		Queue:        queue,
		SyncDelay:    ptr.To(syncDelay),
		ErrorHandler: drops.handle,
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
		case <-following.changed:
		case <-drops.changed:
			now := drops.seen()
			p.Pools.sayLacks(ctx, known, now)
			known = now
		}
		// An update makes the controller look at slices, and forget which fields were
		// dropped.
		now := p.Pools.resources(list(), known)
		if changes := changing(published, now); len(changes) > 0 {
			queue.update(changes, func() { controller.Update(now) })
			published = now
		}
	}
}

// ClusterRoleOwner makes a ClusterRole the slices' owner.
func ClusterRoleOwner(name string, uid types.UID) *resourceslice.Owner {
	return &resourceslice.Owner{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: name, UID: uid}
}

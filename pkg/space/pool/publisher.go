// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// What the slice controller calls the feature gates behind AllowMultipleAllocations
// and BindingConditions.
const (
	shareableFeature = "DRAConsumableCapacity"
	bindingFeature   = "DRADeviceBindingConditions"
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
	drops := newDrops()
	known := drops.seen()
	published := p.Pools.resources(list(), known)
	controller, err := resourceslice.StartController(ctx, resourceslice.Options{
		DriverName:   p.Driver,
		KubeClient:   p.Client,
		Owner:        p.Owner,
		Resources:    published,
		SyncDelay:    ptr.To(syncDelay),
		ErrorHandler: drops.handle,
	})
	if err != nil {
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
		// An update makes the controller look at all slices, and forget which
		// fields were dropped.
		if now := p.Pools.resources(list(), known); !equality.Semantic.DeepEqual(now, published) {
			controller.Update(now)
			published = now
		}
	}
}

// sayLacks tells the log what it means that a cluster lacks more than was known.
func (s Set) sayLacks(ctx context.Context, known, now lacks) {
	logger := klog.FromContext(ctx)
	if now.binding && !known.binding {
		logger.Info("This cluster does not know binding conditions (feature " + bindingFeature + "): pods are bound to nodes before their spaces are ready")
	}
	if !now.shareable || known.shareable {
		return
	}
	for _, p := range s.Pools {
		meaning := ""
		switch {
		case p.Budget != nil:
			meaning = ", so the number of spaces is limited to those of the default size that fit, and no space gets a quota from the budget"
		case p.Limit == nil && p.PerNode == nil:
			meaning = ", so the number of spaces is limited"
		}
		logger.Info("This cluster does not know shareable devices (feature "+shareableFeature+"): publishing exclusive devices instead"+meaning,
			logkeys.Pool, p.Name, "limit", s.exclusive(p))
	}
}

// drops notices which fields the API server drops.
type drops struct {
	mutex sync.Mutex
	lacks lacks
	// changed has something in it after more was noticed.
	changed chan struct{}
}

func newDrops() *drops {
	return &drops{changed: make(chan struct{}, 1)}
}

func (d *drops) seen() lacks {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.lacks
}

// handle is the slice controller's error handler.
func (d *drops) handle(ctx context.Context, err error, msg string) {
	var dropped *resourceslice.DroppedFieldsError
	if !errors.As(err, &dropped) {
		utilruntime.HandleErrorWithContext(ctx, err, msg)
		return
	}
	features := dropped.DisabledFeatures()
	d.mutex.Lock()
	before := d.lacks
	d.lacks.shareable = before.shareable || slices.Contains(features, shareableFeature)
	d.lacks.binding = before.binding || slices.Contains(features, bindingFeature)
	more := d.lacks != before
	d.mutex.Unlock()
	if more {
		select {
		case d.changed <- struct{}{}:
		default: // It was not looked at since the last change.
		}
	}
	if slices.ContainsFunc(features, func(f string) bool { return f != shareableFeature && f != bindingFeature }) || len(features) == 0 {
		utilruntime.HandleErrorWithContext(ctx, err, msg)
	}
}

// ClusterRoleOwner makes a ClusterRole the slices' owner.
func ClusterRoleOwner(name string, uid types.UID) *resourceslice.Owner {
	return &resourceslice.Owner{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: name, UID: uid}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/resourceslice"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// shareableFeature is what the slice controller calls the feature gate behind
// AllowMultipleAllocations.
const shareableFeature = "DRAConsumableCapacity"

// Publisher keeps one pool's ResourceSlices as they should be. Only one may run
// per driver name at a time: it deletes what it does not know.
type Publisher struct {
	Driver string
	Client kubernetes.Interface
	Pool   Pool
	// Owner is a cluster-scoped object; garbage collection removes the slices
	// with it. Nil: the slices outlive the driver.
	Owner *resourceslice.Owner
}

// Run publishes until the context ends. The slices stay.
func (p Publisher) Run(ctx context.Context) error {
	fallback := newFallback()
	controller, err := resourceslice.StartController(ctx, resourceslice.Options{
		DriverName:   p.Driver,
		KubeClient:   p.Client,
		Owner:        p.Owner,
		Resources:    p.Pool.Shareable(),
		ErrorHandler: fallback.handle,
	})
	if err != nil {
		return fmt.Errorf("publish ResourceSlices of driver %s: %w", p.Driver, err)
	}
	defer controller.Stop()

	select {
	case <-ctx.Done():
		return nil
	case <-fallback.needed:
		klog.FromContext(ctx).Info("This cluster does not know shareable devices (feature "+shareableFeature+"): publishing exclusive devices instead, so the number of spaces is limited",
			logkeys.Pool, p.Pool.Name, "limit", p.Pool.Exclusive)
		controller.Update(p.Pool.Fallback())
	}
	<-ctx.Done()
	return nil
}

// fallback notices that the API server dropped the field which makes a device shareable.
type fallback struct {
	once   sync.Once
	needed chan struct{}
}

func newFallback() *fallback {
	return &fallback{needed: make(chan struct{})}
}

func (f *fallback) handle(ctx context.Context, err error, msg string) {
	var dropped *resourceslice.DroppedFieldsError
	if errors.As(err, &dropped) && slices.Contains(dropped.DisabledFeatures(), shareableFeature) {
		f.once.Do(func() { close(f.needed) })
		return
	}
	utilruntime.HandleErrorWithContext(ctx, err, msg)
}

// ClusterRoleOwner makes a ClusterRole the slices' owner.
func ClusterRoleOwner(name string, uid types.UID) *resourceslice.Owner {
	return &resourceslice.Owner{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: name, UID: uid}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pool"
)

// reconcileTimeout is how long one look at a claim may take. It takes seconds; this is for
// an API server that never answers, which must not block a worker.
const reconcileTimeout = 5 * time.Minute

// Config is what a Controller needs.
type Config struct {
	Client   kubernetes.Interface
	Settings blueprint.Settings
	// Server is the URL of the API server as pods reach it.
	Server  string
	Events  record.EventRecorder
	Workers int
	// AllowedClusterRoles are those that spaces can get in their namespaces,
	// besides the usual one, and ClusterWideRoles those in the whole cluster.
	AllowedClusterRoles []string
	ClusterWideRoles    []string
	// Pools are those that spaces come from, whose limits are shown.
	Pools []pool.Pool
	// TemplateNamespaces may be copied from.
	TemplateNamespaces []string
	// APIServerCIDRs are where pods reach the API server. Empty: where its service
	// and its endpoints are.
	APIServerCIDRs []netip.Prefix
	// Namespace is where ConfigMap kube-root-ca.crt is copied from.
	Namespace string
	// ResyncPeriod is how often all claims are compared with their spaces.
	ResyncPeriod time.Duration
	// NamespaceDeletionTimeout is how long a namespace may be terminating before that is reported.
	NamespaceDeletionTimeout time.Duration
	Metrics                  *metrics.Controller
	Clock                    clock.WithTicker
}

// Controller keeps spaces and allocations in step, in both directions: what the
// claims ask for is made, and namespaces that no living allocation asks for are ended.
type Controller struct {
	Config
	keys spaceapi.Keys

	caches
	queue   workqueue.TypedRateLimitingInterface[types.NamespacedName]
	stuck   *stuck
	failed  *failures
	settled *settled
	places  *places
	counted *counts
	// ready is true when the caches are in sync.
	ready atomic.Bool
	// leads is true in Work, from when all is counted. A standby counts nothing, or all
	// would be there twice.
	leads atomic.Bool
}

// New sets up a controller. Nothing is read or written before Start and Work.
func New(config Config) (*Controller, error) {
	c := &Controller{
		Config: config,
		keys:   spaceapi.KeysFor(config.Settings.Driver),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](100*time.Millisecond, time.Minute),
			workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Name: component}),
		failed:  newFailures(),
		settled: &settled{kept: map[types.UID]time.Time{}},
		places:  newPlaces(),
		counted: newCounts(),
	}
	c.stuck = newStuck(config.NamespaceDeletionTimeout)
	if err := c.set(c.keys, config); err != nil {
		return nil, err
	}
	return c, nil
}

// Start fills the caches and keeps them up to date until the context ends.
func (c *Controller) Start(ctx context.Context) error {
	for _, f := range c.factories {
		f.StartWithContext(ctx)
	}
	for _, f := range c.factories {
		if err := f.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
			return fmt.Errorf("read the cluster's state: %w", err)
		}
	}
	c.ready.Store(true)
	<-ctx.Done()
	return nil
}

// synced returns an error until the caches are in sync.
func (c *Controller) synced() error {
	if !c.ready.Load() {
		return errors.New("the caches are not in sync yet")
	}
	return nil
}

// Work handles claims until the context ends, and returns when the last one that
// was begun is through. It can be called once.
func (c *Controller) Work(ctx context.Context) error {
	// Not earlier: nobody would empty a standby's queue. New handlers are told
	// of everything that exists.
	if err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) { return c.ready.Load(), nil }); err != nil {
		return nil
	}
	logger := klog.FromContext(ctx)
	var told []cache.DoneChecker
	for informer, handler := range c.handlers(ctx) {
		registration, err := informer.AddEventHandlerWithOptions(handler, cache.HandlerOptions{Logger: &logger})
		if err != nil {
			return fmt.Errorf("follow API objects: %w", err)
		}
		told = append(told, registration.HasSyncedChecker())
	}
	defer c.leads.Store(false)
	var workers sync.WaitGroup
	workers.Go(func() {
		if cache.WaitFor(ctx, "", told...) {
			c.leads.Store(true)
		}
	})
	for range c.Workers {
		workers.Go(func() {
			for c.next(ctx) {
			}
		})
	}
	workers.Go(func() { c.sweepPeriodically(ctx) })
	<-ctx.Done()
	c.queue.ShutDown()
	workers.Wait()
	return nil
}

func (c *Controller) next(ctx context.Context) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	if ctx.Err() != nil {
		return true // a queue that is shut down still gives what it had
	}
	ctx = klog.NewContext(ctx, klog.LoggerWithValues(klog.FromContext(ctx), logkeys.Claim, key))
	reconcile, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	if err := c.sync(reconcile, key); err != nil {
		if ctx.Err() == nil {
			klog.FromContext(about(ctx, c.uidOf(key))).Error(err, "Trying again later")
			c.queue.AddRateLimited(key)
		}
		return true
	}
	c.queue.Forget(key)
	return true
}

// about gives log lines the claim's UID, by which the story of a space is followed.
func about(ctx context.Context, claim types.UID) context.Context {
	return klog.NewContext(ctx, klog.LoggerWithValues(klog.FromContext(ctx), logkeys.ClaimUID, claim))
}

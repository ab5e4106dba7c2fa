// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
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

// Config is what a Controller needs.
type Config struct {
	Client kubernetes.Interface
	// Reader is what the caches are filled by. Nil: Client.
	Reader   kubernetes.Interface
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
	// SweepInterval is how often all spaces are looked at, whatever was missed.
	SweepInterval time.Duration
	// StuckAfter is how long a deleted namespace may take to go before that is reported.
	StuckAfter time.Duration
	Metrics    *metrics.Controller
	Clock      clock.WithTicker
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
	tasks   *tasks
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
		tasks:   newTasks(config.Clock),
	}
	c.stuck = newStuck(config.StuckAfter, config.Metrics.StuckTerminating)
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
	return nil
}

// Work handles claims until the context ends, and returns when the last one that
// was begun is through. It can be called once.
func (c *Controller) Work(ctx context.Context) error {
	// Not earlier: nobody would empty a standby's queue. New handlers are told
	// of everything that exists.
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
	task, done := c.tasks.begin(ctx, "ResourceClaim "+key.String())
	defer done()
	if err := c.sync(task, key); err != nil {
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

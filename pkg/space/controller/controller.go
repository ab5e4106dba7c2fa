// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/blueprint"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/kubeconfig"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// byClaim indexes the namespaces of spaces by the claim in their record.
const byClaim = "claim"

// Config is what a Controller needs.
type Config struct {
	Client   kubernetes.Interface
	Settings blueprint.Settings
	// Cluster is how pods reach the API server.
	Cluster kubeconfig.Cluster
	Events  record.EventRecorder
	Workers int
	Clock   clock.PassiveClock
}

// Controller keeps spaces and allocations in step, in both directions: what the
// claims ask for is made, and namespaces that no living allocation asks for are ended.
type Controller struct {
	Config
	keys spaceapi.Keys

	factories  []informers.SharedInformerFactory
	claims     resourcelisters.ResourceClaimLister
	namespaces cache.Indexer
	accounts   corelisters.ServiceAccountLister
	bindings   rbaclisters.RoleBindingLister
	handlers   map[cache.SharedIndexInformer]cache.ResourceEventHandler
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// New sets up a controller. Nothing is read or written before Start and Work.
func New(config Config) (*Controller, error) {
	c := &Controller{
		Config: config,
		keys:   spaceapi.KeysFor(config.Settings.Driver),
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](100*time.Millisecond, time.Minute),
			workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Name: component}),
	}
	all := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithTransform(c.trimClaim))
	claims := all.Resource().V1().ResourceClaims()
	c.claims = claims.Lister()

	recorded := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithTransform(trim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = c.keys.ClaimUID }))
	namespaces := recorded.Core().V1().Namespaces().Informer()
	if err := namespaces.AddIndexers(cache.Indexers{byClaim: c.indexByClaim}); err != nil {
		return nil, fmt.Errorf("index namespaces by claim: %w", err)
	}
	c.namespaces = namespaces.GetIndexer()

	// By name and not by label: tenants may change the labels of a ServiceAccount.
	accountsOnly := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithTransform(trim), named(spaceapi.ServiceAccountName))
	accounts := accountsOnly.Core().V1().ServiceAccounts()
	c.accounts = accounts.Lister()
	bindingsOnly := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithTransform(trim), named(spaceapi.RoleBindingName))
	bindings := bindingsOnly.Rbac().V1().RoleBindings()
	c.bindings = bindings.Lister()
	c.factories = []informers.SharedInformerFactory{all, recorded, accountsOnly, bindingsOnly}

	c.handlers = map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		claims.Informer():   c.claimEvents(),
		namespaces:          c.namespaceEvents(),
		accounts.Informer(): c.contentEvents(),
		bindings.Informer(): c.contentEvents(),
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
	for informer, handler := range c.handlers {
		if _, err := informer.AddEventHandlerWithOptions(handler, cache.HandlerOptions{Logger: &logger}); err != nil {
			return fmt.Errorf("follow API objects: %w", err)
		}
	}
	var workers sync.WaitGroup
	for range c.Workers {
		workers.Go(func() {
			for c.next(ctx) {
			}
		})
	}
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
	logger := klog.FromContext(ctx).WithValues(logkeys.Claim, key)
	if err := c.sync(klog.NewContext(ctx, logger), key); err != nil {
		if ctx.Err() == nil {
			logger.Error(err, "Trying again later")
			c.queue.AddRateLimited(key)
		}
		return true
	}
	c.queue.Forget(key)
	return true
}

func (c *Controller) claimEvents() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if claim := obj.(*resourceapi.ResourceClaim); identity.Of(claim, c.Settings.Driver) != nil {
				c.queue.Add(claimKey(claim))
			}
		},
		UpdateFunc: func(old, obj any) {
			before, claim := old.(*resourceapi.ResourceClaim), obj.(*resourceapi.ResourceClaim)
			if c.concernsUs(before, claim) {
				c.queue.Add(claimKey(claim))
			}
		},
		DeleteFunc: func(obj any) {
			if claim, ok := final(obj).(*resourceapi.ResourceClaim); ok {
				c.queue.Add(claimKey(claim))
			}
		},
	}
}

// concernsUs says whether a change of a claim is one to act on: another
// allocation, or a status that somebody spoilt. Our own words about a failure
// coming back are not; they would defeat the back-off.
func (c *Controller) concernsUs(before, after *resourceapi.ResourceClaim) bool {
	was, is := identity.Of(before, c.Settings.Driver), identity.Of(after, c.Settings.Driver)
	if was == nil || is == nil {
		return was != nil || is != nil
	}
	return was.ID != is.ID || isReady(before, c.Settings.Driver, was) && !isReady(after, c.Settings.Driver, is)
}

func (c *Controller) namespaceEvents() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			ns := obj.(*corev1.Namespace)
			// The usual case is our own write coming back: nothing to do.
			if claim, err := c.claims.ResourceClaims(c.claimOf(ns).Namespace).Get(c.claimOf(ns).Name); err == nil &&
				identity.Of(claim, c.Settings.Driver).Owns(ns, c.keys) && ns.DeletionTimestamp == nil {
				return
			}
			c.enqueueClaimOf(ns)
		},
		UpdateFunc: func(old, obj any) {
			before, ns := old.(*corev1.Namespace), obj.(*corev1.Namespace)
			if c.claimOf(before) != c.claimOf(ns) {
				c.enqueueClaimOf(before)
			}
			if before.DeletionTimestamp.Equal(ns.DeletionTimestamp) && before.Labels[c.keys.AllocationID] == ns.Labels[c.keys.AllocationID] && c.claimOf(before) == c.claimOf(ns) {
				return
			}
			c.enqueueClaimOf(ns)
		},
		DeleteFunc: func(obj any) {
			if ns, ok := final(obj).(*corev1.Namespace); ok {
				c.enqueueClaimOf(ns)
			}
		},
	}
}

// contentEvents follows what is inside the spaces. Which claim an object belongs
// to is taken from the namespace's record, which tenants can't write.
func (c *Controller) contentEvents() cache.ResourceEventHandler {
	enqueue := func(obj any) {
		meta, ok := final(obj).(metav1.Object)
		if !ok {
			return
		}
		if ns, exists, err := c.namespaces.GetByKey(meta.GetNamespace()); err == nil && exists {
			c.enqueueClaimOf(ns.(*corev1.Namespace))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			// Made in a namespace that is on its way out, or by somebody else.
			if ns, exists, err := c.namespaces.GetByKey(obj.(metav1.Object).GetNamespace()); err == nil && exists && ns.(*corev1.Namespace).DeletionTimestamp != nil {
				enqueue(obj)
			}
		},
		UpdateFunc: func(_, obj any) { enqueue(obj) },
		DeleteFunc: enqueue,
	}
}

func (c *Controller) enqueueClaimOf(ns *corev1.Namespace) {
	if key := c.claimOf(ns); key.Name != "" {
		c.queue.Add(key)
	}
}

func (c *Controller) claimOf(ns *corev1.Namespace) types.NamespacedName {
	return types.NamespacedName{Namespace: ns.Annotations[c.keys.ClaimNamespace], Name: ns.Annotations[c.keys.ClaimName]}
}

func (c *Controller) indexByClaim(obj any) ([]string, error) {
	key := c.claimOf(obj.(*corev1.Namespace))
	if key.Name == "" {
		return nil, nil
	}
	return []string{key.String()}, nil
}

func claimKey(claim *resourceapi.ResourceClaim) types.NamespacedName {
	return types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
}

// final unwraps the last known state of an object whose deletion was missed.
func final(obj any) any {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return obj
}

func named(name string) informers.SharedInformerOption {
	return informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	})
}

// trim leaves out of the cache what nobody reads.
func trim(obj any) (any, error) {
	if meta, ok := obj.(metav1.Object); ok {
		meta.SetManagedFields(nil)
	}
	return obj, nil
}

// trimClaim keeps of other drivers' claims only that they exist.
func (c *Controller) trimClaim(obj any) (any, error) {
	claim, ok := obj.(*resourceapi.ResourceClaim)
	if !ok || identity.Of(claim, c.Settings.Driver) != nil {
		return trim(obj)
	}
	return &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace:         claim.Namespace,
		Name:              claim.Name,
		UID:               claim.UID,
		ResourceVersion:   claim.ResourceVersion,
		DeletionTimestamp: claim.DeletionTimestamp,
	}}, nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

const (
	// reconcileTimeout is how long one reconcile may take. It takes seconds; this is for an
	// API server that never answers, which must not block a worker.
	reconcileTimeout = 5 * time.Minute
	// Reconciles that fail are retried after the first delay, and then after ever longer ones.
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Minute
)

// queue is what requests are added to.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager registers the controller with a manager. Its requests are claims, for
// changes of any kind of object.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	objectChanged := builder.WithPredicates(r.objectChanged())
	claimOfObject := handler.EnqueueRequestsFromMapFunc(r.claimOfObject)
	b := ctrl.NewControllerManagedBy(mgr).
		Named(component).
		For(&resourceapi.ResourceClaim{}, builder.WithPredicates(r.claimChanged())).
		Watches(&corev1.Namespace{}, r.namespaceHandler()).
		Watches(&corev1.ServiceAccount{}, claimOfObject, objectChanged).
		Watches(&rbacv1.RoleBinding{}, claimOfObject, objectChanged).
		Watches(&corev1.ResourceQuota{}, claimOfObject, objectChanged).
		Watches(&corev1.LimitRange{}, claimOfObject, objectChanged).
		Watches(&networkingv1.NetworkPolicy{}, claimOfObject, objectChanged).
		WatchesRawSource(source.Func(func(ctx context.Context, q queue) error {
			go r.resyncPeriodically(ctx, q)
			return nil
		}))
	if len(r.config.Defaults.ClusterWideRoles) > 0 {
		b.Watches(&rbacv1.ClusterRoleBinding{}, claimOfObject, objectChanged)
	}
	if len(r.config.APIServerCIDRs) == 0 {
		b.Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(r.allClaims), builder.WithPredicates(endpointsChanged()))
	}
	logger := klog.FromContext(ctx)
	return b.WithOptions(controller.Options{
		MaxConcurrentReconciles: r.config.ConcurrentClaimSyncs,
		CacheSyncTimeout:        r.config.StartupTimeout,
		ReconciliationTimeout:   reconcileTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		LogConstructor: func(request *reconcile.Request) logr.Logger {
			if request == nil {
				return logger.V(2)
			}
			return logger.WithValues(logkeys.Claim, request.NamespacedName)
		},
	}).Complete(r)
}

// claimChanged selects changes of a claim to act on: another allocation, other consumers,
// or a Ready condition that was removed. The controller's own failure updates are not
// among them, or they would bypass the rate limiter.
func (r *Reconciler) claimChanged() predicate.Predicate {
	driver := r.config.Defaults.Driver
	return predicate.TypedFuncs[client.Object]{
		CreateFunc: func(e event.CreateEvent) bool {
			return allocation.FromClaim(e.Object.(*resourceapi.ResourceClaim), driver) != nil
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*resourceapi.ResourceClaim), e.ObjectNew.(*resourceapi.ResourceClaim)
			was, is := allocation.FromClaim(before, driver), allocation.FromClaim(after, driver)
			if was == nil || is == nil {
				return was != nil || is != nil
			}
			sameUID := func(a, b resourceapi.ResourceClaimConsumerReference) bool { return a.UID == b.UID }
			return was.ID != is.ID || !slices.EqualFunc(before.Status.ReservedFor, after.Status.ReservedFor, sameUID) ||
				isReady(before, driver, was) && !isReady(after, driver, is)
		},
	}
}

// namespaceHandler enqueues the claims of namespaces.
func (r *Reconciler) namespaceHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			// Usually this is the controller's own write: there is nothing to do.
			if ns := e.Object.(*corev1.Namespace); !r.isCurrent(ctx, ns) {
				r.enqueueClaimOf(ns, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, ns := e.ObjectOld.(*corev1.Namespace), e.ObjectNew.(*corev1.Namespace)
			if claimOf(before, r.keys) != claimOf(ns, r.keys) {
				r.enqueueClaimOf(before, q)
				r.enqueueClaimOf(ns, q)
			} else if !before.DeletionTimestamp.Equal(ns.DeletionTimestamp) || before.Labels[r.keys.AllocationID] != ns.Labels[r.keys.AllocationID] {
				r.enqueueClaimOf(ns, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			ns := e.Object.(*corev1.Namespace)
			if ns.DeletionTimestamp != nil {
				r.metrics.Delete.Observe(r.clock.Since(ns.DeletionTimestamp.Time))
				klog.FromContext(withClaimUID(ctx, r.claimUIDOf(ns))).V(2).Info("Namespace deleted", logkeys.Claim, claimOf(ns, r.keys), logkeys.Namespace, ns.Name)
			}
			r.enqueueClaimOf(ns, q)
		},
	}
}

func (r *Reconciler) enqueueClaimOf(ns *corev1.Namespace, q queue) {
	if claim := claimOf(ns, r.keys); claim.Name != "" {
		q.Add(reconcile.Request{NamespacedName: claim})
	}
}

// objectChanged selects changes of objects in spaces to act on.
func (r *Reconciler) objectChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			// The controller creates nothing in a namespace that is being deleted.
			ns := &corev1.Namespace{}
			err := r.client.Get(context.Background(), client.ObjectKey{Name: namespaceOf(e.Object)}, ns)
			return err == nil && ns.DeletionTimestamp != nil
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			// The status of a quota changes with each pod.
			before, _ := e.ObjectOld.(*corev1.ResourceQuota)
			after, isQuota := e.ObjectNew.(*corev1.ResourceQuota)
			return !isQuota || !equality.Semantic.DeepEqual(before.Spec, after.Spec)
		},
	}
}

// namespaceOf is the namespace that an object is in or, outside of namespaces, that owns it.
func namespaceOf(obj client.Object) string {
	if owners := obj.GetOwnerReferences(); obj.GetNamespace() == "" && len(owners) > 0 {
		return owners[0].Name
	}
	return obj.GetNamespace()
}

// claimOfObject maps an object in a space to the claim in the namespace's annotations, which
// tenants cannot write.
func (r *Reconciler) claimOfObject(ctx context.Context, obj client.Object) []reconcile.Request {
	ns := &corev1.Namespace{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: namespaceOf(obj)}, ns); err != nil {
		return nil
	}
	if claim := claimOf(ns, r.keys); claim.Name != "" {
		return []reconcile.Request{{NamespacedName: claim}}
	}
	return nil
}

// allClaims are all claims that have spaces, which are reconciled when the API server's endpoints
// change.
func (r *Reconciler) allClaims(ctx context.Context, _ client.Object) []reconcile.Request {
	var list corev1.NamespaceList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "List the spaces in the cache")
	}
	var out []reconcile.Request
	for i := range list.Items {
		if claim := claimOf(&list.Items[i], r.keys); claim.Name != "" {
			out = append(out, reconcile.Request{NamespacedName: claim})
		}
	}
	return out
}

func endpointsChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*discoveryv1.EndpointSlice), e.ObjectNew.(*discoveryv1.EndpointSlice)
			return !equality.Semantic.DeepEqual(before.Endpoints, after.Endpoints) || !equality.Semantic.DeepEqual(before.Ports, after.Ports)
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// resyncPeriodically resyncs until the context ends. Events lead to reconciles sooner; this
// is for what no event came for.
func (r *Reconciler) resyncPeriodically(ctx context.Context, q queue) {
	ticker := r.clock.NewTicker(r.config.ResyncPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
			if err := r.resync(ctx, q); err != nil {
				utilruntime.HandleErrorWithContext(ctx, err, "Resync")
			}
		}
	}
}

// resync enqueues each claim that differs from its spaces, as far as the caches know. It
// costs no API request for those that do not differ.
func (r *Reconciler) resync(ctx context.Context, q queue) error {
	r.metrics.Resyncs.WithLabelValues().Inc()
	var namespaces corev1.NamespaceList
	if err := r.client.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range namespaces.Items {
		ns := &namespaces.Items[i]
		if r.isCurrent(ctx, ns) {
			continue
		}
		if done, err := r.isDeprovisioned(ctx, ns); err == nil && !done {
			r.metrics.Corrections.WithLabelValues(metrics.StaleNamespace).Inc()
		}
		r.enqueueClaimOf(ns, q)
	}
	var claims resourceapi.ResourceClaimList
	if err := r.client.List(ctx, &claims, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if a := allocation.FromClaim(claim, r.config.Defaults.Driver); a != nil && !isReady(claim, r.config.Defaults.Driver, a) {
			r.metrics.Corrections.WithLabelValues(metrics.UnprovisionedClaim).Inc()
			q.Add(reconcile.Request{NamespacedName: a.Claim})
		}
	}
	return nil
}

// isCurrent returns whether a namespace belongs to an allocation that exists, and is not
// being deleted.
func (r *Reconciler) isCurrent(ctx context.Context, ns *corev1.Namespace) bool {
	claim, err := getClaim(ctx, r.client, claimOf(ns, r.keys))
	return err == nil && ns.DeletionTimestamp == nil && allocation.FromClaim(claim, r.config.Defaults.Driver).Owns(ns, r.keys)
}

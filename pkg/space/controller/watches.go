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
	"k8s.io/apimachinery/pkg/util/wait"
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
	// reconcileTimeout is how long one reconcile may take, so that an API server that does not
	// respond does not block a worker.
	reconcileTimeout = 5 * time.Minute
	// Reconciles that fail are retried after delays that double.
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Minute
)

// queue is the work queue of the controller.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager adds the controller to a manager. A change of an object leads to a request for its
// claim.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	enqueueClaim := handler.EnqueueRequestsFromMapFunc(r.requestsForObject)
	b := ctrl.NewControllerManagedBy(mgr).
		Named(component).
		For(&resourceapi.ResourceClaim{}, builder.WithPredicates(r.claimChanged())).
		Watches(&corev1.Namespace{}, enqueueClaim, builder.WithPredicates(r.namespaceChanged())).
		Watches(&corev1.Namespace{}, handler.Funcs{DeleteFunc: r.namespaceDeleted}).
		WatchesRawSource(source.Func(func(ctx context.Context, q queue) error {
			r.queue = q
			go func() {
				_ = wait.PollUntilContextCancel(ctx, r.config.ResyncPeriod, false, func(ctx context.Context) (bool, error) {
					r.resync(ctx)
					return false, nil
				})
			}()
			return nil
		}))
	objects := []client.Object{&corev1.ServiceAccount{}, &rbacv1.RoleBinding{}, &corev1.ResourceQuota{}, &corev1.LimitRange{}, &networkingv1.NetworkPolicy{}}
	if len(r.config.Defaults.ClusterWideRoles) > 0 {
		objects = append(objects, &rbacv1.ClusterRoleBinding{})
	}
	for _, object := range objects {
		b.Watches(object, enqueueClaim, builder.WithPredicates(r.objectChanged()))
	}
	if len(r.config.APIServerCIDRs) == 0 {
		b.Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(r.requestsForAllClaims), builder.WithPredicates(predicate.Funcs{
			UpdateFunc: predicate.GenerationChangedPredicate{}.Update,
			DeleteFunc: func(event.DeleteEvent) bool { return false },
		}))
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

// claimChanged selects changes of a claim to reconcile: another allocation, other consumers, another
// extension, or a Ready condition that was removed. It ignores the controller's own failure reports, which would
// otherwise bypass the rate limiter.
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
			return was.ID != is.ID || before.Annotations[r.keys.Extension] != after.Annotations[r.keys.Extension] ||
				!slices.EqualFunc(before.Status.ReservedFor, after.Status.ReservedFor, sameUID) ||
				isReady(before, driver, was) && !isReady(after, driver, is)
		},
	}
}

// namespaceChanged selects changes of a namespace to reconcile.
func (r *Reconciler) namespaceChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			// Usually this is the controller's own write.
			return !r.isCurrent(context.Background(), e.Object.(*corev1.Namespace))
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*corev1.Namespace), e.ObjectNew.(*corev1.Namespace)
			return claimOf(before, r.keys) != claimOf(after, r.keys) || before.Labels[r.keys.AllocationID] != after.Labels[r.keys.AllocationID] ||
				before.Annotations[r.keys.RetainedUntil] != after.Annotations[r.keys.RetainedUntil] ||
				!before.DeletionTimestamp.Equal(after.DeletionTimestamp)
		},
	}
}

// namespaceDeleted logs and measures the deletion of a namespace.
func (r *Reconciler) namespaceDeleted(ctx context.Context, e event.DeleteEvent, _ queue) {
	if ns := e.Object.(*corev1.Namespace); ns.DeletionTimestamp != nil {
		r.metrics.Delete.Observe(r.clock.Since(ns.DeletionTimestamp.Time))
		klog.FromContext(withClaimUID(ctx, ns.Labels[r.keys.ClaimUID])).V(2).Info("Namespace deleted", logkeys.Claim, claimOf(ns, r.keys), logkeys.Namespace, ns.Name)
	}
}

// objectChanged selects changes of objects in spaces to reconcile.
func (r *Reconciler) objectChanged() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			// A previous leader that was paused can create objects in the namespace of a
			// deprovisioned space. They are revoked.
			ns := &corev1.Namespace{}
			err := r.client.Get(context.Background(), client.ObjectKey{Name: namespaceOf(e.Object)}, ns)
			return err == nil && (ns.DeletionTimestamp != nil || !r.retainedUntil(ns).IsZero())
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld, e.ObjectNew.DeepCopyObject().(client.Object)
			// Changes of what the cache does not keep are ignored: tenants could repeat them.
			after.SetResourceVersion(before.GetResourceVersion())
			if quota, ok := after.(*corev1.ResourceQuota); ok { // Its status changes with each pod.
				quota.Status = before.(*corev1.ResourceQuota).Status
			}
			return !equality.Semantic.DeepEqual(before, after)
		},
	}
}

// namespaceOf returns the namespace of an object, or the Namespace that owns a cluster-scoped object.
func namespaceOf(obj client.Object) string {
	if owners := obj.GetOwnerReferences(); obj.GetNamespace() == "" && len(owners) > 0 {
		return owners[0].Name
	}
	return obj.GetNamespace()
}

// requestsForObject returns a request for the claim of a namespace, or of an object in a space. The
// claim is the one in the namespace's annotations, which tenants cannot write.
func (r *Reconciler) requestsForObject(ctx context.Context, obj client.Object) []reconcile.Request {
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		ns = &corev1.Namespace{}
		if err := r.client.Get(ctx, client.ObjectKey{Name: namespaceOf(obj)}, ns); err != nil || r.waitsForRestore(ns) {
			return nil
		}
	}
	if claim := claimOf(ns, r.keys); claim.Name != "" {
		return []reconcile.Request{{NamespacedName: claim}}
	}
	return nil
}

// requestsForAllClaims returns requests for all claims that have spaces. These are reconciled when the
// endpoints of the API server change.
func (r *Reconciler) requestsForAllClaims(ctx context.Context, _ client.Object) (requests []reconcile.Request) {
	_, namespaces := r.listCached(ctx)
	for i := range namespaces {
		requests = append(requests, r.requestsForObject(ctx, &namespaces[i])...)
	}
	return requests
}

// resync queues all claims that may need a reconcile, in case that a watch event was missed: those that
// are not ready, and those with a namespace that has no allocation, that is being deleted, or whose
// audiences are outdated. It reads the caches only.
func (r *Reconciler) resync(ctx context.Context) {
	r.metrics.Resyncs.WithLabelValues().Inc()
	r.restores.GC()
	claims, namespaces := r.listCached(ctx)
	audiences := r.tokenAudiences(ctx)
	for i := range namespaces {
		ns := &namespaces[i]
		current := r.isCurrent(ctx, ns)
		if current && !r.audiencesChanged(ns, audiences) {
			continue
		}
		if done, err := r.isDeprovisioned(ctx, ns); err == nil && !done && !current {
			r.metrics.Findings.WithLabelValues(metrics.StaleNamespace).Inc()
		}
		for _, request := range r.requestsForObject(ctx, ns) {
			r.queue.Add(request)
		}
	}
	driver := r.config.Defaults.Driver
	for i := range claims {
		if a := allocation.FromClaim(&claims[i], driver); a != nil && !isReady(&claims[i], driver, a) {
			r.metrics.Findings.WithLabelValues(metrics.UnprovisionedClaim).Inc()
			r.queue.Add(reconcile.Request{NamespacedName: a.Claim})
		}
	}
}

// isCurrent reports whether a namespace belongs to an allocation that exists, and is not
// being deleted.
func (r *Reconciler) isCurrent(ctx context.Context, ns *corev1.Namespace) bool {
	claim, err := getClaim(ctx, r.client, claimOf(ns, r.keys))
	return err == nil && ns.DeletionTimestamp == nil && allocation.FromClaim(claim, r.config.Defaults.Driver).Owns(ns, r.keys)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
)

// handlers are told what changes in the caches.
func (c *Controller) handlers(ctx context.Context) map[cache.SharedIndexInformer]cache.ResourceEventHandler {
	handlers := map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		c.claimInformer:     c.claimEvents(),
		c.namespaceInformer: c.namespaceEvents(ctx),
		c.accountInformer:   c.contentEvents(),
		c.bindingInformer:   c.contentEvents(),
		c.quotaInformer:     c.contentEvents(),
		c.limitsInformer:    c.contentEvents(),
		c.policyInformer:    c.contentEvents(),
	}
	if c.wideInformer != nil {
		handlers[c.wideInformer] = c.contentEvents()
	}
	if c.endpointInformer != nil {
		handlers[c.endpointInformer] = c.endpointEvents()
	}
	return handlers
}

func (c *Controller) claimEvents() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if claim := unpacked(obj).(*resourceapi.ResourceClaim); identity.Of(claim, c.Settings.Driver) != nil {
				c.recount(claimKey(claim))
				c.queue.Add(claimKey(claim))
			}
		},
		UpdateFunc: func(old, obj any) {
			before, claim := unpacked(old).(*resourceapi.ResourceClaim), unpacked(obj).(*resourceapi.ResourceClaim)
			was, is := identity.Of(before, c.Settings.Driver), identity.Of(claim, c.Settings.Driver)
			if was != nil || is != nil {
				c.recount(claimKey(claim))
			}
			if c.concernsUs(before, claim) {
				c.queue.Add(claimKey(claim))
			}
		},
		DeleteFunc: func(obj any) {
			if claim, ok := final(obj).(*resourceapi.ResourceClaim); ok {
				c.recount(claimKey(claim))
				c.queue.Add(claimKey(claim))
			}
		},
	}
}

// concernsUs says whether a change of a claim is one to act on: another
// allocation, other pods that use it, or a status that somebody spoilt. Our own words about a failure
// coming back are not; they would defeat the back-off.
func (c *Controller) concernsUs(before, after *resourceapi.ResourceClaim) bool {
	was, is := identity.Of(before, c.Settings.Driver), identity.Of(after, c.Settings.Driver)
	if was == nil || is == nil {
		return was != nil || is != nil
	}
	return was.ID != is.ID || !slices.Equal(uids(before.Status.ReservedFor), uids(after.Status.ReservedFor)) || isReady(before, c.Settings.Driver, was) && !isReady(after, c.Settings.Driver, is)
}

func (c *Controller) namespaceEvents(ctx context.Context) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			ns := unpacked(obj).(*corev1.Namespace)
			c.recountNamespace(ns.Name)
			// The usual case is our own write coming back: nothing to do.
			if !c.inStep(ns) {
				c.enqueueClaimOf(ns)
			}
		},
		UpdateFunc: func(old, obj any) {
			before, ns := unpacked(old).(*corev1.Namespace), unpacked(obj).(*corev1.Namespace)
			c.recountNamespace(ns.Name)
			c.places.latest(c.claimOf(ns), ns) // lets go of what the cache has by now
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
				c.recountNamespace(ns.Name)
				if ns.DeletionTimestamp != nil {
					c.Metrics.Delete.Observe(c.Clock.Since(ns.DeletionTimestamp.Time))
					klog.FromContext(about(ctx, claimUIDOf(ns, c.keys))).V(2).Info("Namespace gone", logkeys.Claim, c.claimOf(ns), logkeys.Namespace, ns.Name)
				}
				c.stuck.forget(ns.UID)
				c.settled.forget(ns.UID)
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
		if ns := c.namespace(spaceOf(meta)); ns != nil {
			c.enqueueClaimOf(ns)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			// Made in a namespace that is on its way out, or by somebody else.
			if ns := c.namespace(spaceOf(unpacked(obj).(metav1.Object))); ns != nil && ns.DeletionTimestamp != nil {
				enqueue(obj)
			}
		},
		UpdateFunc: func(old, obj any) {
			// The status of a quota changes with each pod.
			before, _ := unpacked(old).(*corev1.ResourceQuota)
			if now, ok := unpacked(obj).(*corev1.ResourceQuota); !ok || !equality.Semantic.DeepEqual(before.Spec, now.Spec) {
				enqueue(obj)
			}
		},
		DeleteFunc: enqueue,
	}
}

// spaceOf is the namespace that an object is in or, outside of namespaces, that owns it.
func spaceOf(obj metav1.Object) string {
	if owners := obj.GetOwnerReferences(); obj.GetNamespace() == "" && len(owners) > 0 {
		return owners[0].Name
	}
	return obj.GetNamespace()
}

func (c *Controller) enqueueClaimOf(ns *corev1.Namespace) {
	if key := c.claimOf(ns); key.Name != "" {
		c.queue.Add(key)
	}
}

func claimKey(claim *resourceapi.ResourceClaim) types.NamespacedName {
	return types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
}

// final unwraps the last known state of an object whose deletion was missed.
func final(obj any) any {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return unpacked(gone.Obj)
	}
	return unpacked(obj)
}

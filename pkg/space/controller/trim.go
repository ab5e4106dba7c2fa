// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// trim leaves out of the cache what nobody reads.
func trim(obj any) (any, error) {
	if meta, ok := obj.(metav1.Object); ok {
		meta.SetManagedFields(nil)
	}
	return obj, nil
}

// trimClaim keeps of other drivers' claims only that they exist, and of our own that
// have their spaces what they ask for. Any other is as the API server has it: what is
// said of it is written without reading it once more.
func trimClaim(driver string) cache.TransformFunc {
	return func(obj any) (any, error) {
		claim, ok := obj.(*resourceapi.ResourceClaim)
		if !ok {
			return obj, nil
		}
		if identity.Of(claim, driver) == nil {
			meta := bare(&claim.ObjectMeta)
			meta.Finalizers = nil
			return pack(&resourceapi.ResourceClaim{}, meta), nil
		}
		if settled := settle(claim, driver); settled != nil {
			return settled, nil
		}
		return trim(obj)
	}
}

// trimNamespace keeps of a namespace its record, and why it does not go.
func trimNamespace(driver string) cache.TransformFunc {
	return func(obj any) (any, error) {
		if ns, ok := obj.(*corev1.Namespace); ok {
			return packNamespace(ns, driver), nil
		}
		return obj, nil
	}
}

// trimContents keeps of what is in spaces only what is compared with how it should be.
func trimContents(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.ServiceAccount:
		return pack(&corev1.ServiceAccount{}, bare(&o.ObjectMeta)), nil
	case *rbacv1.RoleBinding:
		return packBinding(o), nil
	case *corev1.ResourceQuota:
		kept := &corev1.ResourceQuota{Spec: o.Spec}
		// Of the status it matters whether there is one.
		if len(o.Status.Hard) > 0 {
			kept.Status.Hard = o.Spec.Hard
		}
		return pack(kept, bare(&o.ObjectMeta)), nil
	case *corev1.LimitRange:
		return pack(&corev1.LimitRange{Spec: o.Spec}, bare(&o.ObjectMeta)), nil
	case *networkingv1.NetworkPolicy:
		return pack(&networkingv1.NetworkPolicy{Spec: o.Spec}, bare(&o.ObjectMeta)), nil
	}
	return obj, nil
}

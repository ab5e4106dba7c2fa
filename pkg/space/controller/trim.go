// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"unique"

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

// trimClaim keeps of other drivers' claims only that they exist.
func trimClaim(driver string) cache.TransformFunc {
	return func(obj any) (any, error) {
		claim, ok := obj.(*resourceapi.ResourceClaim)
		if !ok || identity.Of(claim, driver) != nil {
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
}

// trimNamespace keeps of a namespace its record, and why it does not go.
func trimNamespace(obj any) (any, error) {
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Labels, ns.Annotations = once(ns.Labels), once(ns.Annotations)
		ns.Spec = corev1.NamespaceSpec{}
	}
	return trim(obj)
}

// once has the keys, which are the same in all spaces, in memory once.
func once(of map[string]string) map[string]string {
	if len(of) == 0 {
		return nil
	}
	out := make(map[string]string, len(of))
	for key, value := range of {
		out[shared(key)] = value
	}
	return out
}

// shared is the same text, in memory once for all that have it.
func shared(text string) string { return unique.Make(text).Value() }

// trimmer keeps of what is in spaces only what is compared with how it should be.
// That is mostly the same in all spaces of a class, and then in memory once.
type trimmer struct {
	quotas   specs[corev1.ResourceQuotaSpec, *corev1.ResourceQuotaSpec]
	limits   specs[corev1.LimitRangeSpec, *corev1.LimitRangeSpec]
	policies specs[networkingv1.NetworkPolicySpec, *networkingv1.NetworkPolicySpec]
}

// trim implements cache.TransformFunc.
func (t *trimmer) trim(obj any) (any, error) {
	if meta, ok := obj.(metav1.Object); ok {
		meta.SetName(shared(meta.GetName()))
		meta.SetLabels(nil)
		meta.SetAnnotations(nil)
		meta.SetOwnerReferences(nil)
	}
	switch o := obj.(type) {
	case *corev1.ServiceAccount:
		o.Secrets, o.ImagePullSecrets = nil, nil
	case *rbacv1.RoleBinding:
		o.RoleRef = rbacv1.RoleRef{APIGroup: shared(o.RoleRef.APIGroup), Kind: shared(o.RoleRef.Kind), Name: shared(o.RoleRef.Name)}
		for i, s := range o.Subjects {
			o.Subjects[i] = rbacv1.Subject{Kind: shared(s.Kind), APIGroup: shared(s.APIGroup), Name: shared(s.Name), Namespace: s.Namespace}
		}
	case *corev1.ResourceQuota:
		o.Spec = t.quotas.shared(o.Spec)
		// Of the status it matters whether there is one.
		status := corev1.ResourceQuotaStatus{}
		if len(o.Status.Hard) > 0 {
			status.Hard = o.Spec.Hard
		}
		o.Status = status
	case *corev1.LimitRange:
		o.Spec = t.limits.shared(o.Spec)
	case *networkingv1.NetworkPolicy:
		o.Spec = t.policies.shared(o.Spec)
	}
	return trim(obj)
}

// maxSpecs is how many different ones of a kind are remembered. Where there are
// more, as where each claim says how large its quota is, they take more memory.
const maxSpecs = 256

// specs has each specification of a kind in memory once. Nobody may change one.
type specs[T any, P interface {
	*T
	Marshal() ([]byte, error)
}] struct {
	mutex sync.Mutex
	known map[string]T
}

// shared returns one that is the same.
func (s *specs[T, P]) shared(spec T) T {
	raw, err := P(&spec).Marshal()
	if err != nil {
		return spec
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if same, known := s.known[string(raw)]; known {
		return same
	}
	if s.known == nil || len(s.known) >= maxSpecs {
		s.known = map[string]T{}
	}
	s.known[string(raw)] = spec
	return spec
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Users can write large objects: a claim, or the metadata of a ServiceAccount, can have 1.5 MiB. The
// transforms keep only the parts that the controller reads. These limits apply to the parts that users
// write, so that no user can fill the controller's memory.
const (
	// maxCached is the maximum size of the cached spec of an object in a space, in bytes. A larger
	// spec is not cached. To compare it, the controller reads the object from the API server.
	maxCached = 16 << 10
	// maxCachedMessage is the maximum length of a condition of a namespace, in bytes.
	maxCachedMessage = 1 << 10
	// maxCachedFinalizers is the maximum number of finalizers of a namespace.
	maxCachedFinalizers = 4
)

// claimIndex is the name of the index of cached namespaces by the claim that their annotations name.
const claimIndex = "claim"

// cacheOptions selects which kinds are cached, and what is kept of their objects. Objects in
// spaces are selected by name and not by label: tenants can change the labels of a
// ServiceAccount.
func (c *Config) cacheOptions() cache.Options {
	selector, err := labels.Parse(spaceapi.KeysFor(c.Defaults.Driver).ClaimUID) // exists
	utilruntime.Must(err)                                                       // The driver's name is validated.
	kinds := map[client.Object]cache.ByObject{
		&resourceapi.ResourceClaim{}:  {Transform: c.stripClaim},
		&corev1.Namespace{}:           {Label: selector, Transform: c.stripNamespace},
		&corev1.ServiceAccount{}:      {Field: named(spaceapi.ServiceAccountName), Transform: stripObject},
		&rbacv1.RoleBinding{}:         {Field: named(spaceapi.RoleBindingName), Transform: stripObject},
		&corev1.ResourceQuota{}:       {Field: named(spaceapi.ObjectName), Transform: stripObject},
		&corev1.LimitRange{}:          {Field: named(spaceapi.ObjectName), Transform: stripObject},
		&networkingv1.NetworkPolicy{}: {Field: named(spaceapi.ObjectName), Transform: stripObject},
		&corev1.ConfigMap{}:           {Namespaces: map[string]cache.Config{c.Namespace: {FieldSelector: named(spaceapi.RootCAName)}}},
	}
	// The controller has no permission to read these kinds unless it is configured to use them.
	if len(c.Defaults.ClusterWideRoles) > 0 {
		kinds[&rbacv1.ClusterRoleBinding{}] = cache.ByObject{Label: selector, Transform: stripObject}
	}
	if len(c.APIServerCIDRs) == 0 {
		kinds[&discoveryv1.EndpointSlice{}] = cache.ByObject{
			Namespaces: map[string]cache.Config{metav1.NamespaceDefault: {FieldSelector: named(kubernetesService)}},
		}
	}
	return cache.Options{
		ReaderFailOnMissingInformer: true,
		// There is no index by namespace: nothing lists by namespace, and with one object in each
		// namespace, it would be as large as the objects.
		NewInformer: func(lw toolscache.ListerWatcher, kind runtime.Object, resync time.Duration, _ toolscache.Indexers) toolscache.SharedIndexInformer {
			return toolscache.NewSharedIndexInformer(lw, kind, resync, toolscache.Indexers{})
		},
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         kinds,
	}
}

// named selects the objects with a name.
func named(name string) fields.Selector {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, name)
}

// newRESTMapper maps the kinds that the controller reads and writes. They are all built in, so that
// it needs no discovery, and the controller can start while the API server is unavailable.
func newRESTMapper(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	mapper := meta.NewDefaultRESTMapper(nil)
	clusterScoped := sets.New("Namespace", "ClusterRole", "ClusterRoleBinding", "SubjectAccessReview")
	for kind := range scheme.Scheme.AllKnownTypes() {
		if clusterScoped.Has(kind.Kind) {
			mapper.Add(kind, meta.RESTScopeRoot)
		} else {
			mapper.Add(kind, meta.RESTScopeNamespace)
		}
	}
	return mapper, nil
}

// minimalMeta returns the metadata that is needed to identify an object.
func minimalMeta(of metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: of.Namespace, Name: of.Name, UID: of.UID, ResourceVersion: of.ResourceVersion,
		CreationTimestamp: of.CreationTimestamp, DeletionTimestamp: of.DeletionTimestamp,
	}
}

// stripClaim is a transform that applies [allocation.Strip]. A truncated claim is read from the API server when it is
// reconciled.
func (c *Config) stripClaim(obj any) (any, error) {
	claim, ok := obj.(*resourceapi.ResourceClaim)
	if !ok {
		return obj, nil
	}
	return allocation.Strip(claim, c.Defaults.Driver), nil
}

// stripNamespace is a transform that keeps the parts of a namespace that the controller wrote, and
// those that show why its deletion is not complete.
func (c *Config) stripNamespace(obj any) (any, error) {
	ns, ok := obj.(*corev1.Namespace)
	if !ok {
		return obj, nil
	}
	keep := func(from map[string]string, keys ...string) map[string]string {
		out := map[string]string{}
		for _, key := range keys {
			if value, exists := from[key]; exists {
				out[key] = value
			}
		}
		return out
	}
	keys := spaceapi.KeysFor(c.Defaults.Driver)
	out := &corev1.Namespace{ObjectMeta: minimalMeta(ns.ObjectMeta)}
	out.Labels = keep(ns.Labels, keys.ClaimUID, keys.AllocationID, keys.NestedSpaces)
	out.Annotations = keep(ns.Annotations, keys.ClaimNamespace, keys.ClaimName, keys.Config, keys.RetainedUntil, keys.FailedPod, keys.Nodes,
		keys.MaxTerminationGracePeriod, keys.Pool, keys.TokenAudiences, keys.DeletionRetriedAt)
	for _, finalizer := range ns.Finalizers[:min(len(ns.Finalizers), maxCachedFinalizers)] {
		out.Finalizers = append(out.Finalizers, strings.Clone(finalizer))
	}
	if slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		out.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	}
	for _, condition := range ns.Status.Conditions {
		if condition.Status == corev1.ConditionTrue {
			condition.Message = strings.Clone(condition.Message[:min(len(condition.Message), maxCachedMessage)])
			out.Status.Conditions = append(out.Status.Conditions, condition)
		}
	}
	return out, nil
}

// stripObject is a transform that keeps the parts of an object in a space that are compared with the
// desired object. It replaces a spec that is too large by an empty one, which differs from the desired
// one, so that the controller reads the object from the API server.
func stripObject(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.ServiceAccount:
		return &corev1.ServiceAccount{ObjectMeta: minimalMeta(o.ObjectMeta)}, nil
	case *rbacv1.RoleBinding:
		finalizers := o.Finalizers
		o.ObjectMeta = minimalMeta(o.ObjectMeta)
		// A copy, because a part of the slice would keep all of it in memory.
		o.Finalizers = slices.Clone(finalizers[:min(len(finalizers), 1)])
		if o.Size() > maxCached {
			// Without a subject, the binding would seem to grant nothing.
			o.Subjects = []rbacv1.Subject{{}}
		}
	case *corev1.ResourceQuota:
		status := o.Status
		o.ObjectMeta, o.Status = minimalMeta(o.ObjectMeta), corev1.ResourceQuotaStatus{}
		if o.Size() > maxCached {
			o.Spec = corev1.ResourceQuotaSpec{}
		}
		// Only whether there is a status matters, see setQuotaStatus.
		if len(status.Hard) > 0 {
			o.Status.Hard = o.Spec.Hard
		}
	case *corev1.LimitRange:
		o.ObjectMeta = minimalMeta(o.ObjectMeta)
		if o.Size() > maxCached {
			o.Spec = corev1.LimitRangeSpec{}
		}
	case *networkingv1.NetworkPolicy:
		o.ObjectMeta = minimalMeta(o.ObjectMeta)
		if o.Size() > maxCached {
			o.Spec = networkingv1.NetworkPolicySpec{}
		}
	case *rbacv1.ClusterRoleBinding:
		owners := o.OwnerReferences
		o.ObjectMeta = minimalMeta(o.ObjectMeta)
		o.OwnerReferences = owners
	}
	return obj, nil
}

// indexByClaim is the index function of claimIndex.
func indexByClaim(keys spaceapi.Keys) client.IndexerFunc {
	return func(obj client.Object) []string { return []string{claimOf(obj, keys).String()} }
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"iter"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/informers/internalinterfaces"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	resourceinformers "k8s.io/client-go/informers/resource/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// byClaim indexes the namespaces of spaces by the claim in their record.
const byClaim = "claim"

// caches are what the controller knows of the cluster.
type caches struct {
	keys      spaceapi.Keys
	factories []informers.SharedInformerFactory

	namespaces cache.Indexer
	rootCA     corelisters.ConfigMapNamespaceLister
	// roles has a cache for each ClusterRole, because nobody may read all.
	roles map[string]cache.SharedIndexInformer

	claimInformer, namespaceInformer, accountInformer, bindingInformer, rootCAInformer cache.SharedIndexInformer
	quotaInformer, limitsInformer, policyInformer                                      cache.SharedIndexInformer
	// wideInformer is nil where spaces get no rights in the whole cluster, and
	// endpointInformer where it is said how the API server is reached.
	wideInformer, endpointInformer cache.SharedIndexInformer
}

// set sets the caches up. They are filled by Start.
func (c *caches) set(keys spaceapi.Keys, config Config) error {
	c.keys = keys
	client := config.Client
	with := func(transform cache.TransformFunc, options ...informers.SharedInformerOption) informers.SharedInformerFactory {
		factory := informers.NewSharedInformerFactoryWithOptions(client, 0, append(options, informers.WithTransform(transform))...)
		c.factories = append(c.factories, factory)
		return factory
	}

	// Nobody asks for all that is in a namespace, so there is no index for that.
	without := cache.Indexers{}
	c.claimInformer = with(trimClaim(config.Settings.Driver)).InformerFor(&resourceapi.ResourceClaim{}, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return resourceinformers.NewResourceClaimInformer(client, metav1.NamespaceAll, resync, without)
	})
	namespaces := with(trimNamespace(config.Settings.Driver), recorded(keys)).Core().V1().Namespaces().Informer()
	if err := namespaces.AddIndexers(cache.Indexers{byClaim: c.indexByClaim}); err != nil {
		return fmt.Errorf("index namespaces by claim: %w", err)
	}
	c.namespaces, c.namespaceInformer = namespaces.GetIndexer(), namespaces

	// By name and not by label: tenants may change the labels of a ServiceAccount.
	inside := func(kind runtime.Object, which internalinterfaces.TweakListOptionsFunc, informer newFilteredInformer) cache.SharedIndexInformer {
		return with(trimContents).InformerFor(kind, func(client kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
			return informer(client, metav1.NamespaceAll, resync, without, which)
		})
	}
	c.accountInformer = inside(&corev1.ServiceAccount{}, byName(spaceapi.ServiceAccountName), coreinformers.NewFilteredServiceAccountInformer)
	c.bindingInformer = inside(&rbacv1.RoleBinding{}, byName(spaceapi.RoleBindingName), rbacinformers.NewFilteredRoleBindingInformer)
	c.quotaInformer = inside(&corev1.ResourceQuota{}, byName(spaceapi.LimitsName), coreinformers.NewFilteredResourceQuotaInformer)
	c.limitsInformer = inside(&corev1.LimitRange{}, byName(spaceapi.LimitsName), coreinformers.NewFilteredLimitRangeInformer)
	c.policyInformer = inside(&networkingv1.NetworkPolicy{}, byName(spaceapi.LimitsName), networkinginformers.NewFilteredNetworkPolicyInformer)

	c.roles = map[string]cache.SharedIndexInformer{}
	for _, name := range slices.Concat(config.rolesInside(), config.ClusterWideRoles) {
		if c.roles[name] == nil {
			c.roles[name] = with(trim, named(name)).Rbac().V1().ClusterRoles().Informer()
		}
	}
	if len(config.ClusterWideRoles) > 0 {
		c.wideInformer = with(trim, recorded(keys)).Rbac().V1().ClusterRoleBindings().Informer()
	}
	if len(config.APIServerCIDRs) == 0 {
		c.endpointInformer = with(trim, named(apiServerName), informers.WithNamespace(metav1.NamespaceDefault)).Discovery().V1().EndpointSlices().Informer()
	}
	rootCA := with(trim, named(spaceapi.RootCAName), informers.WithNamespace(config.Namespace)).Core().V1().ConfigMaps()
	c.rootCA, c.rootCAInformer = rootCA.Lister().ConfigMaps(config.Namespace), rootCA.Informer()
	return nil
}

// claim returns a claim of that name, or nil.
func (c *caches) claim(key types.NamespacedName) *resourceapi.ResourceClaim {
	claim, _ := cached[*resourceapi.ResourceClaim](c.claimInformer, key.String())
	return claim
}

// allClaims are those of all drivers.
func (c *caches) allClaims() iter.Seq[*resourceapi.ResourceClaim] {
	return all[*resourceapi.ResourceClaim](c.claimInformer)
}

// namespace returns a space's namespace of that name, or nil.
func (c *caches) namespace(name string) *corev1.Namespace {
	ns, _ := cached[*corev1.Namespace](c.namespaceInformer, name)
	return ns
}

// allNamespaces are those of spaces.
func (c *caches) allNamespaces() iter.Seq[*corev1.Namespace] {
	return all[*corev1.Namespace](c.namespaceInformer)
}

// account returns the ServiceAccount of a space, or nil.
func (c *caches) account(namespace string) *corev1.ServiceAccount {
	account, _ := cached[*corev1.ServiceAccount](c.accountInformer, cache.NewObjectName(namespace, spaceapi.ServiceAccountName).String())
	return account
}

// binding returns the RoleBinding of a space, or nil.
func (c *caches) binding(namespace string) *rbacv1.RoleBinding {
	binding, _ := cached[*rbacv1.RoleBinding](c.bindingInformer, cache.NewObjectName(namespace, spaceapi.RoleBindingName).String())
	return binding
}

// recordedFor returns the namespaces whose record names the claim.
func (c *caches) recordedFor(claim types.NamespacedName) ([]*corev1.Namespace, error) {
	objs, err := c.namespaces.ByIndex(byClaim, claim.String())
	if err != nil {
		return nil, fmt.Errorf("look up the spaces of ResourceClaim %s in the cache: %w", claim, err)
	}
	out := make([]*corev1.Namespace, 0, len(objs))
	for _, obj := range objs {
		out = append(out, unpacked(obj).(*corev1.Namespace))
	}
	return out, nil
}

// role returns a ClusterRole that spaces can get, or nil.
func (c *caches) role(name string) *rbacv1.ClusterRole {
	if c.roles[name] == nil {
		return nil
	}
	role, _ := cached[*rbacv1.ClusterRole](c.roles[name], name)
	return role
}

// cached returns an object by its key. A lookup by key can't fail.
func cached[T any](informer cache.SharedIndexInformer, key string) (T, bool) {
	obj, _, _ := informer.GetIndexer().GetByKey(key)
	out, ok := unpacked(obj).(T)
	return out, ok
}

// all are the objects of a cache, one after the other.
func all[T any](informer cache.SharedIndexInformer) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, obj := range informer.GetIndexer().List() {
			if !yield(unpacked(obj).(T)) {
				return
			}
		}
	}
}

// claimOf is the claim in a namespace's record. Its name is empty when there is none.
func (c *caches) claimOf(ns *corev1.Namespace) types.NamespacedName {
	return types.NamespacedName{Namespace: ns.Annotations[c.keys.ClaimNamespace], Name: ns.Annotations[c.keys.ClaimName]}
}

func (c *caches) indexByClaim(obj any) ([]string, error) {
	key := c.claimOf(unpacked(obj).(*corev1.Namespace))
	if key.Name == "" {
		return nil, nil
	}
	return []string{key.String()}, nil
}

// newFilteredInformer makes an informer of one kind.
type newFilteredInformer func(kubernetes.Interface, string, time.Duration, cache.Indexers, internalinterfaces.TweakListOptionsFunc) cache.SharedIndexInformer

func byName(name string) internalinterfaces.TweakListOptionsFunc {
	return func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	}
}

func named(name string) informers.SharedInformerOption {
	return informers.WithTweakListOptions(byName(name))
}

func recorded(keys spaceapi.Keys) informers.SharedInformerOption {
	return informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = keys.ClaimUID })
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
	"github.com/space-dra/space-dra-driver/pkg/space/view"
)

const (
	// cachesLag is for how long what was written may be missing in the caches.
	cachesLag = time.Minute
	// remembered is how many things of a kind are remembered: more than claims that change
	// at the same time. What is forgotten costs a request to the API server.
	remembered = 20_000
)

// Config is the configuration of a Reconciler.
type Config struct {
	Settings spaceconfig.Settings
	// DNS is where isolated pods resolve names.
	DNS resources.DNS
	// Server is the URL of the API server as pods reach it.
	Server string
	// Pools are those whose limits are shown in the metrics.
	Pools []pools.Pool
	// APIServerCIDRs are where pods reach the API server. Empty: at Server and the
	// endpoints of Service default/kubernetes.
	APIServerCIDRs []netip.Prefix
	// Namespace is where ConfigMap kube-root-ca.crt is copied from.
	Namespace string
	// ConcurrentClaimSyncs is the number of claims that are reconciled at the same time.
	ConcurrentClaimSyncs int
	// ResyncPeriod is how often all claims are compared with their spaces.
	ResyncPeriod time.Duration
	// NamespaceDeletionTimeout is how long a namespace may be terminating before that is reported.
	NamespaceDeletionTimeout time.Duration
	// StartupTimeout is how long the caches may take to sync.
	StartupTimeout time.Duration
}

// Clients are how a Reconciler reads and writes the cluster.
type Clients struct {
	// Client writes, and reads from the caches, which are described by cacheOptions.
	client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	// Roles read ClusterRoles from caches, by the role's name.
	Roles map[string]client.Reader
}

// Reconciler keeps claims and spaces in sync, in both directions: it provisions the spaces
// of allocated claims, and deprovisions namespaces whose allocation no longer exists.
type Reconciler struct {
	config  Config
	keys    spaceapi.Keys
	client  Clients
	events  record.EventRecorder
	metrics *metrics.Controller
	clock   clock.WithTicker

	// The caches lag behind the controller's own writes, and each write is an event that
	// leads to a reconcile. deprovisioned has the namespaces that were deprovisioned by
	// their UIDs, with the time until which they are retained, zero for deleted ones.
	// consumersWritten has namespaces by their UIDs, as they were after the nodes of the
	// consumers were written.
	deprovisioned, consumersWritten *utilcache.LRUExpireCache
	// overdueReported has the last event of namespaces whose deletion is overdue, by their UIDs.
	overdueReported *utilcache.LRUExpireCache
	// podNodes has the nodes of consuming pods by the pods' UIDs: a pod never moves.
	podNodes *lru.Cache
	// failedBindings counts by claim how often the scheduler was told to give up an allocation.
	failedBindings *lru.Cache
}

// NewReconciler returns a Reconciler. SetupWithManager starts it.
func NewReconciler(config Config, client Clients, events record.EventRecorder, metrics *metrics.Controller, clock clock.WithTicker) *Reconciler {
	return &Reconciler{
		config:           config,
		keys:             spaceapi.KeysFor(config.Settings.Driver),
		client:           client,
		events:           events,
		metrics:          metrics,
		clock:            clock,
		deprovisioned:    utilcache.NewLRUExpireCacheWithClock(remembered, clock),
		consumersWritten: utilcache.NewLRUExpireCacheWithClock(remembered, clock),
		overdueReported:  utilcache.NewLRUExpireCacheWithClock(remembered, clock),
		podNodes:         lru.New(remembered),
		failedBindings:   lru.New(remembered),
	}
}

// Reconcile keeps one claim and the spaces recorded for it in sync. It implements
// reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	select {
	case <-ctx.Done(): // a queue that is shut down still returns what it has
		return reconcile.Result{}, nil
	default:
	}
	claim, err := r.claim(ctx, request.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	spaces, err := r.spacesFor(ctx, request.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	desired, err := r.desiredState(ctx, claim, spaces)
	if err != nil {
		return reconcile.Result{}, err
	}
	if desired == nil {
		r.failedBindings.Remove(request.NamespacedName)
	}
	// A space that cannot be deprovisioned must not block the next one, nor the other way round.
	after, err := r.deprovisionStale(ctx, request.NamespacedName, desired, spaces)
	if desired != nil {
		provisionAfter, provisionErr := r.reconcileAllocation(withClaimUID(ctx, claim.UID), claim, desired)
		after = soonest(after, provisionAfter, r.untilExpiry(desired))
		err = errors.Join(err, provisionErr)
	}
	if err != nil {
		// The rate limiter retries it within lastRetry, whatever else is due later.
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// soonest returns the shortest of the delays. Zero stands for never.
func soonest(delays ...time.Duration) time.Duration {
	var out time.Duration
	for _, delay := range delays {
		if delay > 0 && (out == 0 || delay < out) {
			out = delay
		}
	}
	return out
}

// withClaimUID adds the claim's UID to all log lines, by which a space is followed.
func withClaimUID(ctx context.Context, uid types.UID) context.Context {
	return klog.NewContext(ctx, klog.LoggerWithValues(klog.FromContext(ctx), logkeys.ClaimUID, uid))
}

// claim returns the whole claim of that name, or nil.
func (r *Reconciler) claim(ctx context.Context, key types.NamespacedName) (*resourceapi.ResourceClaim, error) {
	claim, err := r.cachedClaim(ctx, key)
	if claim != nil && claim.Annotations[truncatedAnnotation] != "" {
		return r.liveClaim(ctx, key)
	}
	return claim, err
}

// cachedClaim returns the claim of that name as the cache has it, which may be truncated, or nil.
func (r *Reconciler) cachedClaim(ctx context.Context, key types.NamespacedName) (*resourceapi.ResourceClaim, error) {
	claim := &resourceapi.ResourceClaim{}
	if err := r.client.Get(ctx, key, claim); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return claim, nil
}

// liveClaim returns the claim of that name as the API server has it, or nil.
func (r *Reconciler) liveClaim(ctx context.Context, key types.NamespacedName) (*resourceapi.ResourceClaim, error) {
	claim := &resourceapi.ResourceClaim{}
	err := r.client.APIReader.Get(ctx, key, claim)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ResourceClaim %s: %w", key, err)
	}
	return claim, nil
}

// spacesFor returns the cached namespaces whose record names the claim.
func (r *Reconciler) spacesFor(ctx context.Context, claim types.NamespacedName) ([]corev1.Namespace, error) {
	var list corev1.NamespaceList
	if err := r.client.List(ctx, &list, client.MatchingFields{claimIndex: claim.String()}); err != nil {
		return nil, fmt.Errorf("look up the spaces of ResourceClaim %s in the cache: %w", claim, err)
	}
	return list.Items, nil
}

// claimUIDOf returns the UID of the claim in a namespace's record.
func (r *Reconciler) claimUIDOf(ns *corev1.Namespace) types.UID {
	return types.UID(ns.Labels[r.keys.ClaimUID])
}

// desiredState is what an allocated claim is to have.
type desiredState struct {
	allocation *allocation.Allocation
	// spaces are the spaces of the allocation's shares, in their order.
	spaces []desiredSpace
	// rejected is why the allocation gets nothing, or nil.
	rejected error
	// lifetime is how long the spaces may exist, and expires is when that is over. Zero:
	// there is no limit.
	lifetime time.Duration
	expires  time.Time
	expired  bool
}

// desiredSpace is what a share of the allocation is to have.
type desiredSpace struct {
	share  allocation.Share
	name   string
	config spaceconfig.Space
	// existing is the cached namespace that was created for the share, or nil.
	existing *corev1.Namespace
}

// desiredState returns what the claim, which may be nil, is to have. It is nil for a
// claim that is not allocated. The claim's spaces are as in the cache.
func (r *Reconciler) desiredState(ctx context.Context, claim *resourceapi.ResourceClaim, spaces []corev1.Namespace) (*desiredState, error) {
	driver := r.config.Settings.Driver
	a := allocation.FromClaim(claim, driver)
	if a == nil {
		return nil, nil
	}
	d := &desiredState{allocation: a, spaces: make([]desiredSpace, len(a.Shares))}
	nested, err := r.isNested(ctx, a)
	if err != nil {
		return nil, err
	}
	if nested {
		d.rejected = fmt.Errorf("namespace %s is a space, in which nobody can ask for spaces unless its DeviceClass sets allowNestedSpaces", a.Claim.Namespace)
	}
	containers := make([]spaceconfig.Container, len(a.Shares))
	for i, share := range a.Shares {
		space := desiredSpace{share: share}
		for j := range spaces {
			// A space keeps its name when the prefix changes.
			if a.Owns(&spaces[j], r.keys) && share.Names(spaces[j].Name) {
				space.existing = &spaces[j]
			}
		}
		var err error
		if space.config, err = r.spaceConfig(a, share, space.existing); err != nil && d.rejected == nil {
			d.rejected = err
		}
		space.name = share.NamespaceName(space.config.NamespacePrefix)
		if space.existing != nil {
			space.name = space.existing.Name
		}
		if lifetime := space.config.MaxLifetime.Duration; lifetime > 0 && (d.lifetime == 0 || lifetime < d.lifetime) {
			d.lifetime = lifetime
		}
		d.spaces[i], containers[i] = space, space.config.Container
	}
	if d.rejected == nil {
		// No node could prepare it.
		d.rejected = view.Check(driver, a, containers)
	}
	if d.lifetime > 0 {
		d.expires = r.startOf(d).Add(d.lifetime)
		d.expired = !r.clock.Now().Before(d.expires) || a.AllocatedAt.IsZero() && isExpired(claim, driver, a)
	}
	return d, nil
}

// isNested returns whether the claim is in the namespace of a space that must not have
// spaces in it. An admission policy of the chart refuses such claims when they are written,
// but it knows only the classes that it was configured with, and it can be removed.
func (r *Reconciler) isNested(ctx context.Context, a *allocation.Allocation) (bool, error) {
	ns := &corev1.Namespace{}
	err := r.client.Get(ctx, client.ObjectKey{Name: a.Claim.Namespace}, ns)
	return err == nil && ns.Labels[r.keys.NestedSpaces] != spaceapi.NestedSpacesAllowed, client.IgnoreNotFound(err)
}

// spaceConfig returns the configuration of a share's space: what its Namespace, which may
// be nil, records or, without a record that can be read, what parameters and settings give
// now. The error is why the space cannot be provisioned.
func (r *Reconciler) spaceConfig(a *allocation.Allocation, share allocation.Share, existing *corev1.Namespace) (spaceconfig.Space, error) {
	space, err := r.config.Settings.Resolve(a, share)
	if existing != nil {
		if given, damaged := spaceconfig.ParseRecord(existing.Annotations[r.keys.Config]); damaged == nil {
			space.Cluster = given
			return space, nil
		}
	}
	if err != nil {
		return space, err
	}
	return space, r.config.Settings.CheckAllowed(space.Cluster)
}

// given returns what the space in a namespace was given. If its record is damaged, that is
// anything that a space can have, with unknown ClusterRoles, and no retention.
func (r *Reconciler) given(ns *corev1.Namespace) spaceconfig.Cluster {
	given, err := spaceconfig.ParseRecord(ns.Annotations[r.keys.Config])
	if err != nil {
		return spaceconfig.Cluster{ClusterRoles: make([]string, spaceapi.MaxClusterRoles), ClusterWideRoles: r.config.Settings.ClusterWideRoles}
	}
	return given
}

// startOf returns when the lifetime of the allocation's spaces began.
func (r *Reconciler) startOf(d *desiredState) time.Time {
	if !d.allocation.AllocatedAt.IsZero() {
		return d.allocation.AllocatedAt
	}
	start := r.clock.Now()
	for _, space := range d.spaces {
		if space.existing != nil && space.existing.CreationTimestamp.Time.Before(start) {
			start = space.existing.CreationTimestamp.Time
		}
	}
	return start
}

// untilExpiry returns the time until the spaces expire. Zero: never, or they have expired.
func (r *Reconciler) untilExpiry(d *desiredState) time.Duration {
	if d.expires.IsZero() || d.expired {
		return 0
	}
	return d.expires.Sub(r.clock.Now())
}

// activeAllocation returns the allocation whose spaces may exist, or nil.
func (d *desiredState) activeAllocation() *allocation.Allocation {
	if d == nil || d.expired {
		return nil
	}
	return d.allocation
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
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
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
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
	Defaults spaceconfig.Defaults
	// DNS is where isolated pods resolve names.
	DNS resources.DNS
	// Server is the URL of the API server in the kubeconfigs of pods.
	Server string
	// Pools are those whose limits are shown in the metrics.
	Pools []pools.Pool
	// APIServerCIDRs are where pods reach the API server. If empty, at Server and the
	// endpoints of Service default/kubernetes.
	APIServerCIDRs []net.IPNet
	// Namespace is where ConfigMap kube-root-ca.crt is copied from.
	Namespace string
	// ConcurrentClaimSyncs is the number of claims that are reconciled at the same time.
	ConcurrentClaimSyncs int
	// ResyncPeriod is the interval at which all claims are compared with their spaces.
	ResyncPeriod time.Duration
	// NamespaceDeletionTimeout is the time after which a terminating namespace is reported.
	NamespaceDeletionTimeout time.Duration
	// StartupTimeout is how long the API server may take to answer, and the caches to sync.
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
	// nodesWritten has namespaces by their UIDs, as they were after the nodes of the
	// consumers were written.
	deprovisioned, nodesWritten *utilcache.LRUExpireCache
	// podNodes has the nodes of consuming pods by the pods' UIDs: a bound pod stays on its node.
	podNodes *lru.Cache
	// failedBindings counts by claim how often the condition Failed was set.
	failedBindings *lru.Cache
}

// NewReconciler returns a Reconciler. SetupWithManager starts it.
func NewReconciler(config Config, client Clients, events record.EventRecorder, metrics *metrics.Controller, clock clock.WithTicker) *Reconciler {
	return &Reconciler{
		config:         config,
		keys:           spaceapi.KeysFor(config.Defaults.Driver),
		client:         client,
		events:         events,
		metrics:        metrics,
		clock:          clock,
		deprovisioned:  utilcache.NewLRUExpireCacheWithClock(remembered, clock),
		nodesWritten:   utilcache.NewLRUExpireCacheWithClock(remembered, clock),
		podNodes:       lru.New(remembered),
		failedBindings: lru.New(remembered),
	}
}

// Reconcile keeps one claim and its spaces in sync. It implements
// reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	select {
	case <-ctx.Done(): // A queue that is shut down still returns what it has.
		return reconcile.Result{}, nil
	default:
	}
	claim, err := getClaim(ctx, r.client, request.NamespacedName)
	if err == nil && claim != nil && claim.Annotations[truncatedAnnotation] != "" {
		claim, err = getClaim(ctx, r.client.APIReader, request.NamespacedName)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	spaces, err := r.spacesFor(ctx, request.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	desired, err := r.desire(ctx, claim, spaces)
	if err != nil {
		return reconcile.Result{}, err
	}
	if desired == nil {
		r.failedBindings.Remove(request.NamespacedName)
	}
	// A space that cannot be deprovisioned must not block provisioning, and vice versa.
	after, err := r.deprovisionStale(ctx, request.NamespacedName, desired, spaces)
	if desired != nil {
		provisionAfter, provisionErr := r.reconcileAllocation(withClaimUID(ctx, claim.UID), claim, desired)
		after = soonest(after, provisionAfter, r.untilExpiry(desired))
		err = errors.Join(err, provisionErr)
	}
	if err != nil {
		// The rate limiter retries it within lastRetry, before anything else is due.
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

// getClaim returns the claim of that name, or nil. One from the cache may be truncated.
func getClaim(ctx context.Context, reader client.Reader, key types.NamespacedName) (*resourceapi.ResourceClaim, error) {
	claim := &resourceapi.ResourceClaim{}
	err := reader.Get(ctx, key, claim)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ResourceClaim %s: %w", key, err)
	}
	return claim, nil
}

// spacesFor returns the cached namespaces whose annotations name the claim.
func (r *Reconciler) spacesFor(ctx context.Context, claim types.NamespacedName) ([]corev1.Namespace, error) {
	var list corev1.NamespaceList
	if err := r.client.List(ctx, &list, client.MatchingFields{claimIndex: claim.String()}); err != nil {
		return nil, fmt.Errorf("look up the spaces of ResourceClaim %s in the cache: %w", claim, err)
	}
	return list.Items, nil
}

// claimUIDOf returns the UID of the claim in a namespace's label.
func (r *Reconciler) claimUIDOf(ns *corev1.Namespace) types.UID {
	return types.UID(ns.Labels[r.keys.ClaimUID])
}

// reconcileAllocation provisions the spaces of an allocation, and reports that in the
// claim's status. It returns when to reconcile again, zero for never.
func (r *Reconciler) reconcileAllocation(ctx context.Context, claim *resourceapi.ResourceClaim, desired *desiredState) (time.Duration, error) {
	a := desired.allocation
	inUse := isReady(claim, r.config.Defaults.Driver, a)
	switch {
	case desired.expired:
		return r.reportNotReady(ctx, claim, a, &reasonError{spaceapi.ReasonExpired, fmt.Errorf(
			"the space has existed for %s, the maximum lifetime of its class: its credentials are revoked and it is deprovisioned", desired.lifetime)})
	case desired.rejected != nil && inUse:
		// The recorded configuration of a ready space is damaged, so that what it has is unknown.
		return r.syncConsumers(ctx, claim, desired)
	case desired.rejected != nil:
		return r.reportNotReady(ctx, claim, a, &reasonError{spaceapi.ReasonInvalidParameters, desired.rejected})
	}
	if inUse {
		complete, err := r.haveNamespaces(ctx, desired)
		if err != nil {
			return 0, err
		}
		if !complete {
			// Clear Ready before recreating anything, so that after a crash the next leader
			// provisions the whole space.
			if _, err := r.reportNotReady(ctx, claim, a, errNamespaceGone); err != nil {
				return 0, err
			}
			inUse = false
		}
	}
	if !inUse && len(claimstatus.Conditions(claim, r.config.Defaults.Driver, a.Results[0])) == 0 {
		klog.FromContext(ctx).V(2).Info("Claim allocated", logkeys.Allocation, a.ID, "spaces", len(a.Results))
	}

	start := r.clock.Now()
	consumers := r.newConsumers(ctx, claim, desired)
	spaces := make([]provisioned, len(desired.spaces))
	err := parallel(len(desired.spaces), func(i int) (err error) {
		spaces[i], err = r.provision(ctx, a, desired.spaces[i], consumers, inUse)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		r.metrics.Provision.Observe(r.clock.Since(start), metrics.Failed)
		after, reportErr := r.reportNotReady(ctx, claim, a, err)
		return after, errors.Join(err, reportErr)
	}
	r.failedBindings.Remove(a.Claim)
	if err := r.reportReady(ctx, claim, desired, spaces, inUse, start); err != nil {
		return 0, err
	}
	return consumers.result()
}

// haveNamespaces returns whether each space in use has its namespace.
func (r *Reconciler) haveNamespaces(ctx context.Context, desired *desiredState) (bool, error) {
	for _, space := range desired.spaces {
		if space.existing != nil {
			continue
		}
		// The cache may lag behind.
		err := r.client.APIReader.Get(ctx, client.ObjectKey{Name: space.name}, &corev1.Namespace{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look up namespace %s: %w", space.name, err)
		}
	}
	return true, nil
}

// errNamespaceGone is the reason why a space in use is provisioned again.
var errNamespaceGone = &reasonError{spaceapi.ReasonNamespaceTerminating, errors.New("a namespace of the claim was deleted while in use: it is recreated")}

// parallel calls f for 0 to n-1 in parallel. The errors are in order, so that the same
// failures have the same message.
func parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = f(i) })
	}
	group.Wait()
	var joined error
	for _, err := range errs {
		switch {
		case joined == nil:
			joined = err
		case err != nil:
			joined = fmt.Errorf("%w; %w", joined, err)
		}
	}
	return joined
}

// isReady returns whether all spaces of the allocation are ready by the claim's status.
func isReady(claim *resourceapi.ResourceClaim, driver string, a *allocation.Allocation) bool {
	return !slices.ContainsFunc(a.Results, func(result allocation.Result) bool {
		_, data, err := claimstatus.Read(claim, driver, a, result)
		return err != nil || data == nil
	})
}

// annotate patches annotations of a namespace. A nil value removes one.
func (r *Reconciler) annotate(ctx context.Context, ns *corev1.Namespace, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		// The API server rejects the patch of a later namespace of the same name.
		"uid":         ns.UID,
		"annotations": annotations,
	}})
	if err != nil {
		return err
	}
	return r.client.Patch(ctx, ns, client.RawPatch(types.MergePatchType, patch))
}

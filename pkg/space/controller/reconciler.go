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
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	spaceclient "github.com/space-dra/space-dra-driver/pkg/space/client"
	spaceconfig "github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
)

const (
	// maxCacheLag is how long the caches may lag behind the controller's own writes.
	maxCacheLag = time.Minute
	// maxWrittenNamespaces is the number of namespaces that are kept in Reconciler.writtenNamespaces.
	maxWrittenNamespaces = 2_000
	// maxRemembered is the number of entries in each of the other caches of a Reconciler: more
	// than claims change at the same time. A lost entry costs a request to the API server.
	maxRemembered = 20_000
)

// Config is the configuration of a Reconciler.
type Config struct {
	Defaults spaceconfig.Defaults
	// DNS is where isolated pods can reach DNS servers.
	DNS resources.DNS
	// Server is the URL of the API server in the kubeconfigs of pods.
	Server string
	// Pools are the pools whose limits the metrics include.
	Pools []pools.Pool
	// APIServerCIDRs are where isolated pods can reach the API server. If empty, they can reach
	// Server and the endpoints of Service default/kubernetes.
	APIServerCIDRs []net.IPNet
	// Namespace is the namespace whose ConfigMap kube-root-ca.crt is copied into spaces.
	Namespace string
	// TokenFile contains the controller's own token, which was requested without audiences. If
	// empty, the audiences of the API server are unknown.
	TokenFile string
	// ConcurrentClaimSyncs is the number of claims that are reconciled at the same time.
	ConcurrentClaimSyncs int
	// ResyncPeriod is the interval at which all claims are compared with their spaces.
	ResyncPeriod time.Duration
	// StuckTerminatingAfter is how long a namespace may be terminating before it is reported.
	StuckTerminatingAfter time.Duration
	// StartupTimeout is how long the API server may take to respond, and the caches to sync.
	StartupTimeout time.Duration
}

// Clients are the clients of a Reconciler.
type Clients struct {
	// Client writes to the API server, and reads from the caches that cacheOptions describes.
	client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	// Roles has a reader for each ClusterRole, by its name. Each reads from a cache.
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
	clock   clock.Clock

	// queue is set when the controller starts.
	queue queue
	// writtenNamespaces contains, by UID, the namespaces that the controller has patched or deleted,
	// the latter with a deletion timestamp. The informers' caches lag behind its own writes, and
	// the watch event of each write leads to a reconcile.
	writtenNamespaces *utilcache.LRUExpireCache
	// admissionChanges contains, by the UIDs of objects in spaces, the changes that admission made
	// when the controller wrote the objects, see difference.
	admissionChanges *lru.Cache
	// podNodes has the nodes of consuming pods by the pods' UIDs: a bound pod stays on its node.
	podNodes *lru.Cache
	// consumers has the consumers of claims whose namespaces are retained only if a pod fails.
	consumers *lru.Cache
	// warnings has the last messages of events that are not repeated, see warnOnce.
	warnings *lru.Cache
	// bindingFailures counts by claim how often the condition BindingFailed was set.
	bindingFailures *lru.Cache
	// restores contains, by allocation ID, the delay of the next restore of its spaces.
	restores *flowcontrol.Backoff
}

// NewReconciler returns a Reconciler. SetupWithManager starts it.
func NewReconciler(config Config, client Clients, events record.EventRecorder, metrics *metrics.Controller, clock clock.Clock) *Reconciler {
	restores := flowcontrol.NewBackOff(firstRetry, lastRetry)
	restores.Clock = clock
	return &Reconciler{
		config:            config,
		keys:              spaceapi.KeysFor(config.Defaults.Driver),
		client:            client,
		events:            events,
		metrics:           metrics,
		clock:             clock,
		writtenNamespaces: utilcache.NewLRUExpireCacheWithClock(maxWrittenNamespaces, clock),
		admissionChanges:  lru.New(maxRemembered),
		podNodes:          lru.New(maxRemembered),
		consumers:         lru.New(maxRemembered),
		warnings:          lru.New(maxRemembered),
		bindingFailures:   lru.New(maxRemembered),
		restores:          restores,
	}
}

// Reconcile implements reconcile.Reconciler: it keeps one claim and its spaces in sync.
func (r *Reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if ctx.Err() != nil { // A queue that is shut down still returns its entries.
		return reconcile.Result{}, nil //nolint:nilerr // the manager is stopping
	}
	key := request.NamespacedName
	claim, err := getClaim(ctx, r.client, key)
	if err == nil && claim != nil && allocation.IsTruncated(claim) {
		claim, err = getClaim(ctx, r.client.APIReader, key)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	namespaces, err := r.namespaces(ctx, client.MatchingFields{claimIndex: key.String()})
	if err != nil {
		return reconcile.Result{}, err
	}
	desired, err := r.newDesiredClaim(ctx, claim, namespaces)
	if err == nil && desired != nil {
		err = r.setDesiredObjects(ctx, desired)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	failuresErr := r.recordFailures(ctx, key, desired, namespaces)
	// A space that cannot be deprovisioned must not block provisioning, and vice versa.
	after, err := r.deprovisionStale(ctx, key, desired, namespaces)
	err = errors.Join(failuresErr, err)
	if claim == nil {
		r.bindingFailures.Remove(key)
	}
	if desired != nil {
		provisionAfter, provisionErr := r.provisionOrRestore(withClaimUID(ctx, string(claim.UID)), desired)
		after = soonest(after, provisionAfter, r.reportExpiration(desired), desired.expiresIn)
		err = errors.Join(err, provisionErr)
	}
	if err != nil && after > 0 {
		// With an error, RequeueAfter is ignored, and the rate limiter may retry later than that.
		r.queue.AddAfter(request, after)
		after = 0
	}
	return reconcile.Result{RequeueAfter: after}, err
}

// soonest returns the shortest of the delays. Zero means never.
func soonest(delays ...time.Duration) time.Duration {
	delays = slices.DeleteFunc(delays, func(delay time.Duration) bool { return delay <= 0 })
	if len(delays) == 0 {
		return 0
	}
	return slices.Min(delays)
}

// withClaimUID adds the claim's UID to all log entries, so that they can be searched for it.
func withClaimUID(ctx context.Context, uid string) context.Context {
	return klog.NewContext(ctx, klog.LoggerWithValues(klog.FromContext(ctx), logkeys.ClaimUID, uid))
}

// getClaim returns the claim of that name, or nil if it does not exist. A claim from the cache may be
// truncated.
func getClaim(ctx context.Context, reader client.Reader, key types.NamespacedName) (*resourceapi.ResourceClaim, error) {
	claim := &resourceapi.ResourceClaim{}
	err := reader.Get(ctx, key, claim)
	if spaceclient.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ResourceClaim %s: %w", key, err)
	}
	return claim, nil
}

// namespaces returns namespaces of spaces, which must not be modified. It returns those in the cache
// or, if it lags behind, those that the controller has written.
func (r *Reconciler) namespaces(ctx context.Context, options ...client.ListOption) ([]corev1.Namespace, error) {
	var list corev1.NamespaceList
	if err := r.client.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list the namespaces of spaces in the cache: %w", err)
	}
	for i, ns := range list.Items {
		value, _ := r.writtenNamespaces.Get(ns.UID)
		written, ok := value.(*corev1.Namespace)
		if !ok {
			continue
		}
		if order, err := resourceversion.CompareResourceVersion(ns.ResourceVersion, written.ResourceVersion); err != nil || order <= 0 {
			list.Items[i] = *written
		}
	}
	return list.Items, nil
}

// listCached returns all claims and all namespaces of spaces, which must not be modified.
func (r *Reconciler) listCached(ctx context.Context) ([]resourceapi.ResourceClaim, []corev1.Namespace) {
	namespaces, err := r.namespaces(ctx)
	var claims resourceapi.ResourceClaimList
	if err := errors.Join(err, r.client.List(ctx, &claims, client.UnsafeDisableDeepCopy)); err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "List the claims and namespaces in the cache")
	}
	return claims.Items, namespaces
}

// claimOf returns the claim that a namespace's annotations name. The name is empty if there is none.
func claimOf(ns client.Object, keys spaceapi.Keys) types.NamespacedName {
	return types.NamespacedName{Namespace: ns.GetAnnotations()[keys.ClaimNamespace], Name: ns.GetAnnotations()[keys.ClaimName]}
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
	ns = ns.DeepCopy()
	if err := r.client.Patch(ctx, ns, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	if ns.DeletionTimestamp != nil {
		return nil // Only those that this controller has deleted are kept with a deletion timestamp.
	}
	written, err := r.config.stripNamespace(ns)
	r.writtenNamespaces.Add(ns.UID, written, maxCacheLag)
	return err
}

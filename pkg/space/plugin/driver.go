// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugin implements the kubelet plugin. When a pod needs a claim, the plugin waits until the
// controller has provisioned the space, requests a token, and writes the files and the CDI spec for
// the containers. It renews the token for as long as the claim is prepared.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// TokenRequester requests tokens. A lifetime of zero means the default of the installation.
type TokenRequester interface {
	Request(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error)
}

// Config is the configuration of a Driver.
type Config struct {
	// Driver is the driver's name.
	Driver string
	// Node is the node's name.
	Node           string
	Client         kubernetes.Interface
	WatchClaim     ClaimWatcher
	TokenRequester TokenRequester
	// CredentialsDir is the directory of the prepared claims, with the credentials that
	// containers mount. It must be on tmpfs.
	CredentialsDir string
	// CDIDir is the directory of the CDI specs of all drivers.
	CDIDir string
	// APIServer is how containers reach the API server.
	APIServer APIServer
	// PrepareTimeout is how long Prepare waits for a space to become ready.
	PrepareTimeout time.Duration
	Clock          clock.WithTicker
	// Events records events about claims.
	Events  record.EventRecorder
	Metrics *metrics.Plugin
	// Pools are the pools per node. The plugin publishes its node's part of them.
	Pools pools.Set
	// Fail stops the kubelet plugin, whose Run then returns the error.
	Fail func(error)
}

// resyncWorkers is the number of claims that are resynced at the same time.
const resyncWorkers = 4

// Driver implements kubeletplugin.DRAPlugin.
type Driver struct {
	Config

	locks  *locks
	claims *claimReader
	// tracked are the claims whose tokens are renewed.
	tracked trackedClaims
	// replacements has, by claim, the delay of the next renewal for a replaced ServiceAccount.
	replacements *flowcontrol.Backoff
	// queue has the claims to resync.
	queue workqueue.TypedDelayingInterface[types.UID]
	// apiServer is Config.APIServer with its current certificates.
	apiServer apiServerWithCA
	store     *store
	specs     *cdiSpecs
	// nodeReplaced is when the plugin found that its Node was deleted or replaced, or nil.
	nodeReplaced atomic.Pointer[time.Time]
	// damaged has the UIDs of claims whose metadata a resync has reported as damaged.
	damaged sync.Map
	// features tracks which fields of ResourceSlices the API server supports.
	features *pools.Features
	// jitter is in [0, 1).
	jitter func() float64
	// wall returns the node's wall clock time, which can be set, unlike the monotonic clock.
	wall func() time.Time

	// ctx is done when the driver stops. It is set before the first call.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

var _ kubeletplugin.DRAPlugin = &Driver{}

// New returns a driver, and creates its directories.
func New(config Config) (*Driver, error) {
	d := &Driver{
		Config:    config,
		locks:     newLocks(),
		claims:    newClaimReader(config.Client, config.Driver),
		tracked:   trackedClaims{claims: map[types.UID]*trackedClaim{}, changed: make(chan struct{})},
		queue:     workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[types.UID]{Clock: config.Clock}),
		apiServer: apiServerWithCA{APIServer: config.APIServer},
		features:  pools.NewFeatures(config.Pools),
		jitter:    rand.Float64,
		wall:      func() time.Time { return config.Clock.Now().Round(0) },

		replacements: flowcontrol.NewBackOff(firstRetry, lastRetry),
	}
	d.replacements.Clock = config.Clock
	if _, err := d.apiServer.load(); err != nil {
		return nil, err
	}
	var err error
	if d.specs, err = openCDISpecs(config.Driver, config.CDIDir); err != nil {
		return nil, err
	}
	d.store, err = openStore(config.Driver, config.CredentialsDir, &d.apiServer)
	return d, err
}

// Start starts to renew the tokens of prepared claims, including those that an earlier process
// prepared, and returns. It is called once.
func (d *Driver) Start(ctx context.Context) {
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.running.Go(func() { wait.UntilWithContext(d.ctx, d.resync, resyncInterval) })
	for range resyncWorkers {
		d.running.Go(func() { d.resyncQueue(d.ctx) })
	}
}

// Stop stops the goroutines that Start has started, and waits for them.
func (d *Driver) Stop() {
	d.cancel()
	d.queue.ShutDown()
	d.running.Wait()
}

// PrepareResourceClaims implements kubeletplugin.DRAPlugin.
func (d *Driver) PrepareResourceClaims(ctx context.Context, claims []*resourceapi.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	return forEach(claims, func(claim *resourceapi.ResourceClaim) (types.UID, kubeletplugin.PrepareResult) {
		name := types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
		ctx, logger := withClaim(ctx, name, claim.UID)
		start := d.Clock.Now()
		var devices []kubeletplugin.Device
		err := d.withLock(ctx, name, claim.UID, func(ctx context.Context) (err error) {
			devices, err = d.prepare(ctx, claim)
			return err
		})
		d.Metrics.Prepare.Observe(d.Clock.Since(start), metrics.Result(err))
		if err != nil {
			logger.Error(err, "Failed to prepare a claim")
		} else {
			logger.Info("Claim prepared", logkeys.Duration, d.Clock.Since(start).Round(time.Millisecond))
		}
		return claim.UID, kubeletplugin.PrepareResult{Devices: devices, Err: err}
	}), nil
}

// UnprepareResourceClaims implements kubeletplugin.DRAPlugin. It removes everything that Prepare may
// have written, and interrupts a Prepare that is still waiting. It needs only the claim's UID, and
// neither the API server nor the metadata of the claim.
func (d *Driver) UnprepareResourceClaims(ctx context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	return forEach(claims, func(claim kubeletplugin.NamespacedObject) (types.UID, error) {
		ctx, logger := withClaim(ctx, claim.NamespacedName, claim.UID)
		start := d.Clock.Now()
		d.locks.interrupt(claim.UID)
		err := d.withLock(ctx, claim.NamespacedName, claim.UID, func(context.Context) error { return d.remove(claim.UID) })
		d.Metrics.Unprepare.Observe(d.Clock.Since(start), metrics.Result(err))
		if err != nil {
			logger.Error(err, "Failed to unprepare a claim")
		} else {
			logger.Info("Claim unprepared")
		}
		return claim.UID, err
	}), nil
}

// withLock calls a function while it holds the claim's lock. interrupt cancels its context.
func (d *Driver) withLock(ctx context.Context, name types.NamespacedName, claim types.UID, do func(context.Context) error) error {
	ctx, unlock, err := d.locks.lock(ctx, claim)
	if err != nil {
		return fmt.Errorf("wait for an earlier call about ResourceClaim %s: %w", name, err)
	}
	defer unlock()
	return do(ctx)
}

// forEach calls a function for all claims concurrently.
func forEach[C, R any](claims []C, do func(C) (types.UID, R)) map[types.UID]R {
	results := make(map[types.UID]R, len(claims))
	var mutex sync.Mutex
	var all sync.WaitGroup
	for _, claim := range claims {
		all.Go(func() {
			uid, result := do(claim)
			mutex.Lock()
			defer mutex.Unlock()
			results[uid] = result
		})
	}
	all.Wait()
	return results
}

// HandleError implements kubeletplugin.DRAPlugin.
func (d *Driver) HandleError(ctx context.Context, err error, msg string) {
	// Only errors of publishing ResourceSlices are recoverable.
	if errors.Is(err, kubeletplugin.ErrRecoverable) {
		d.features.HandleError(ctx, err, msg)
		return
	}
	utilruntime.HandleErrorWithContext(ctx, err, msg)
	d.Fail(fmt.Errorf("%s: %w", msg, err))
}

// withClaim adds a claim to all log entries.
func withClaim(ctx context.Context, claim types.NamespacedName, uid types.UID) (context.Context, klog.Logger) {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), logkeys.Claim, claim, logkeys.ClaimUID, uid)
	return klog.NewContext(ctx, logger), logger
}

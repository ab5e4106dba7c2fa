// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugin owns one node's side of spaces: when a pod needs a claim, it
// waits for the controller to have made the space, gets a token, and hands both
// to the container runtime. It keeps the token fresh for as long as the claim is
// prepared.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/space-dra/space-dra-driver/pkg/space/artifacts"
	"github.com/space-dra/space-dra-driver/pkg/space/cdi"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/record"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// Minter gets tokens.
type Minter interface {
	Mint(ctx context.Context, account token.Account) (token.Token, error)
}

// Config is what a Driver needs.
type Config struct {
	Driver    string
	Client    kubernetes.Interface
	Minter    Minter
	Artifacts *artifacts.Store
	Specs     *cdi.Store
	Records   *record.Store
	// PrepareTimeout is how long to wait for a space to become ready.
	PrepareTimeout time.Duration
	Clock          clock.WithTicker
	// Fail is told what makes it pointless to go on.
	Fail func(error)
}

// Driver implements kubeletplugin.DRAPlugin.
type Driver struct {
	Config
	claims  claimReader
	locks   *locks
	keeper  *keeper
	stopped sync.WaitGroup
	cancel  context.CancelFunc
}

var _ kubeletplugin.DRAPlugin = &Driver{}

// New sets up a driver. Nothing is touched before Start.
func New(config Config) *Driver {
	d := &Driver{
		Config: config,
		claims: claimReader{client: config.Client, clock: config.Clock, maxDelay: rereadDelay},
		locks:  newLocks(),
	}
	d.keeper = newKeeper(d)
	return d
}

// takeOverInterval is how often the records are looked at for what another
// process did. It is well below the shortest time in which a token ends.
const takeOverInterval = 2 * time.Minute

// Start takes over the claims that an earlier process prepared, and begins to
// keep tokens fresh.
func (d *Driver) Start(ctx context.Context) {
	ctx, d.cancel = context.WithCancel(ctx)
	d.stopped.Go(func() { d.keeper.run(ctx) })
	d.takeOver(ctx)
	d.stopped.Go(func() {
		// During an update an old and a new plugin serve side by side, and each
		// may prepare claims that the other one has to look after.
		ticker := d.Clock.NewTicker(takeOverInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C():
				d.takeOver(ctx)
			}
		}
	})
}

// takeOver makes the keeper look after the claims that another process has recorded,
// and no longer after those whose record has gone.
func (d *Driver) takeOver(ctx context.Context) {
	// Known before the records are read: a claim that is prepared meanwhile is
	// not one that has lost its record.
	known := d.keeper.knows()
	prepared, err := d.Records.List()
	if err != nil {
		utilruntime.HandleErrorWithContext(ctx, err, "Some claims that were prepared before are forgotten; their tokens are not renewed until their pods start again")
	}
	for _, p := range prepared {
		if known[p.UID] != p.AllocationID {
			d.keeper.keep(p, nil, d.Clock.Now())
		}
		delete(known, p.UID)
	}
	for claim := range known {
		d.keeper.drop(claim)
	}
}

// Stop ends the work in the background and returns when it has ended.
func (d *Driver) Stop() {
	d.cancel()
	d.stopped.Wait()
}

// PrepareResourceClaims implements kubeletplugin.DRAPlugin.
func (d *Driver) PrepareResourceClaims(ctx context.Context, claims []*resourceapi.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	results := make(map[types.UID]kubeletplugin.PrepareResult, len(claims))
	var mutex sync.Mutex
	var all sync.WaitGroup
	for _, claim := range claims {
		all.Go(func() {
			ctx, logger := withClaim(ctx, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}, claim.UID)
			start := d.Clock.Now()
			devices, err := d.prepare(ctx, claim)
			if err != nil {
				logger.Error(err, "Claim not prepared")
			} else {
				logger.Info("Claim prepared", logkeys.Duration, d.Clock.Since(start).Round(time.Millisecond))
			}
			mutex.Lock()
			defer mutex.Unlock()
			results[claim.UID] = kubeletplugin.PrepareResult{Devices: devices, Err: err}
		})
	}
	all.Wait()
	return results, nil
}

// UnprepareResourceClaims implements kubeletplugin.DRAPlugin. It needs nothing
// but the claim's UID: no API server, and no record.
func (d *Driver) UnprepareResourceClaims(ctx context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	results := make(map[types.UID]error, len(claims))
	for _, claim := range claims {
		ctx, logger := withClaim(ctx, claim.NamespacedName, claim.UID)
		err := d.unprepare(ctx, claim.UID)
		if err != nil {
			logger.Error(err, "Claim not unprepared")
		} else {
			logger.Info("Claim unprepared")
		}
		results[claim.UID] = err
	}
	return results, nil
}

// HandleError implements kubeletplugin.DRAPlugin.
func (d *Driver) HandleError(ctx context.Context, err error, msg string) {
	utilruntime.HandleErrorWithContext(ctx, err, msg)
	if !errors.Is(err, kubeletplugin.ErrRecoverable) {
		d.Fail(fmt.Errorf("%s: %w", msg, err))
	}
}

// WatchHealthStatus implements kubeletplugin.DRAPlugin. The kubelet keeps health
// per device, and all spaces of a pool are shares of one device.
func (d *Driver) WatchHealthStatus(context.Context, chan<- kubeletplugin.DeviceHealthReport) error {
	return kubeletplugin.ErrHealthNotSupported
}

func withClaim(ctx context.Context, claim types.NamespacedName, uid types.UID) (context.Context, klog.Logger) {
	logger := klog.LoggerWithValues(klog.FromContext(ctx), logkeys.Claim, claim, logkeys.ClaimUID, uid)
	return klog.NewContext(ctx, logger), logger
}

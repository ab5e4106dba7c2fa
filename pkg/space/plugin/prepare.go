// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// answerMargin is what is left of the kubelet's deadline for saying why a space
// was waited for in vain.
const answerMargin = 5 * time.Second

// firstTokenDelay is how long to wait before a token that was forbidden is asked for
// again. It takes longer each time.
const firstTokenDelay = 25 * time.Millisecond

// prepare makes a claim's spaces ready for containers on this node.
func (d *Driver) prepare(ctx context.Context, claim *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	allocation := allocation.FromClaim(claim, d.Driver)
	if allocation == nil {
		return nil, fmt.Errorf("ResourceClaim %s/%s is not allocated for driver %s", claim.Namespace, claim.Name, d.Driver)
	}
	ctx, unlock, err := d.locks.lock(ctx, claim.UID)
	if err != nil {
		return nil, fmt.Errorf("wait for an earlier call about ResourceClaim %s: %w", allocation.Claim, err)
	}
	defer unlock()

	step := d.steps()
	waiting, cancel := d.waiting(ctx)
	defer cancel()
	spaces, seen, err := d.waitUntilReady(ctx, waiting, claim, allocation)
	if err != nil {
		return nil, err
	}
	step(metrics.StepWait)
	configs, err := d.resolve(allocation)
	if err != nil {
		return nil, err
	}
	namespaces := make([]string, len(spaces))
	for i, space := range spaces {
		namespaces[i] = space.Namespace
	}
	views, err := containeredits.Build(d.Driver, d.apiServer.URL, allocation, configs, namespaces)
	if err != nil {
		return nil, refused(allocation, err)
	}
	prepared := preparedOf(allocation, configs, spaces)
	tokens, err := d.requestTokensWhenAllowed(ctx, waiting, prepared.Spaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %w", allocation.Claim, err)
	}
	step(metrics.StepToken)

	// The kubelet may have gone away, or have asked to unprepare meanwhile: it
	// would not know about what is written now.
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare ResourceClaim %s: %w", allocation.Claim, context.Cause(ctx))
	}
	var files []credentials
	var specs []cdiDevice
	var devices []kubeletplugin.Device
	for i, result := range allocation.Results {
		files = append(files, credentials{serverFiles: d.apiServer.files(claim.UID, prepared.Spaces[i]), token: tokens[i]})
		device := d.cdiDevice(allocation, result, views[i])
		specs = append(specs, device)
		devices = append(devices, kubeletplugin.Device{
			Requests:     []string{result.Request},
			PoolName:     result.Pool,
			DeviceName:   result.Device,
			ShareID:      result.ShareID,
			CDIDeviceIDs: []string{d.specs.id(device.name)},
		})
	}
	// The spec comes last: without the claim in the store it is an orphan.
	if err := d.store.put(prepared, files); err != nil {
		return nil, err
	}
	if err := d.specs.write(claim.UID, specs); err != nil {
		return nil, err
	}
	step(metrics.StepFiles)
	d.tokens.add(prepared, seen, tokens)
	return devices, nil
}

// steps returns what takes note of the time since it was called before.
func (d *Driver) steps() func(step string) {
	last := d.Clock.Now()
	return func(step string) {
		now := d.Clock.Now()
		d.Metrics.PrepareSteps.Observe(now.Sub(last), step)
		last = now
	}
}

// unprepare removes all that prepare may have left for a claim. A prepare that
// still waits is told to stop.
func (d *Driver) unprepare(ctx context.Context, claim types.UID) error {
	d.locks.interrupt(claim)
	_, unlock, err := d.locks.lock(ctx, claim)
	if err != nil {
		return fmt.Errorf("wait for an earlier call about claim %s: %w", claim, err)
	}
	defer unlock()
	return d.remove(claim)
}

// remove removes all that there is of a claim. The caller has its lock.
func (d *Driver) remove(claim types.UID) error {
	d.tokens.remove(claim)
	if err := d.specs.remove(claim); err != nil {
		return err
	}
	return d.store.remove(claim)
}

// requestTokensWhenAllowed is requestTokens for a pod that has just been bound to the node: the
// controller may not have noted yet that it is here, and until then the API server
// forbids it. How long it takes is milliseconds.
func (d *Driver) requestTokensWhenAllowed(ctx, waiting context.Context, spaces []preparedSpace) ([]token.Token, error) {
	delay := firstTokenDelay
	for {
		tokens, err := d.requestTokens(ctx, spaces)
		if !apierrors.IsForbidden(err) || d.pause(waiting, &delay, rereadDelay) != nil {
			return tokens, err
		}
		klog.FromContext(ctx).V(2).Info("Token refused, trying again", "err", err)
	}
}

// requestTokens gets the tokens of a claim's spaces side by side.
func (d *Driver) requestTokens(ctx context.Context, spaces []preparedSpace) ([]token.Token, error) {
	tokens := make([]token.Token, len(spaces))
	group, ctx := errgroup.WithContext(ctx)
	for i, space := range spaces {
		group.Go(func() (err error) {
			tokens[i], err = d.requestToken(ctx, space)
			return err
		})
	}
	return tokens, group.Wait()
}

// requestToken gets a token of a space, with the lifetime that holds for it.
func (d *Driver) requestToken(ctx context.Context, space preparedSpace) (token.Token, error) {
	account := token.Account{Namespace: space.Namespace, Name: space.ServiceAccount, UID: space.ServiceAccountUID}
	return d.TokenRequester.Request(ctx, account, space.TokenLifetime.Duration)
}

// resolve returns what containers get of each share: the installation's settings, which
// the plugin doesn't know, have no part in it. The controller has resolved the same
// parameters; what only a newer one could read is rejected as the controller would.
func (d *Driver) resolve(a *allocation.Allocation) ([]config.Container, error) {
	out := make([]config.Container, len(a.Results))
	for i, result := range a.Results {
		space, err := config.Defaults{Driver: d.Driver}.Resolve(a, result)
		if err != nil {
			return nil, refused(a, err)
		}
		out[i] = space.Container
	}
	return out, nil
}

func refused(a *allocation.Allocation, why error) error {
	return fmt.Errorf("ResourceClaim %s: %s: %w", a.Claim, spaceapi.ReasonInvalidParameters, why)
}

// cdiDevice says what containers with this share get.
func (d *Driver) cdiDevice(a *allocation.Allocation, result allocation.Result, v containeredits.Edits) cdiDevice {
	// The allocation's ID and not the claim's, which may be allocated again:
	// runtimes keep what they know about a device by its name.
	name := a.ID
	if result.Subdir != "" {
		name += "-" + result.Subdir
	}
	return cdiDevice{name: name, env: v.Env, hostDir: d.store.credentialsPath(a.ClaimUID, result.Subdir), containerDirs: v.Dirs}
}

func preparedOf(a *allocation.Allocation, configs []config.Container, spaces []*spaceapi.SpaceStatus) preparedClaim {
	p := preparedClaim{Namespace: a.Claim.Namespace, Name: a.Claim.Name, UID: a.ClaimUID, AllocationID: a.ID}
	for i, result := range a.Results {
		p.Spaces = append(p.Spaces, preparedSpace{
			Subdir:            result.Subdir,
			Pool:              result.Pool,
			Device:            result.Device,
			Namespace:         spaces[i].Namespace,
			ServiceAccount:    spaces[i].ServiceAccount,
			ServiceAccountUID: spaces[i].ServiceAccountUID,
			TokenLifetime:     metav1.Duration{Duration: configs[i].TokenLifetime},
		})
	}
	return p
}

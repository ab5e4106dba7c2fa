// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// answerMargin is what is left of the kubelet's deadline for the answer that a space did
// not become ready.
const answerMargin = 5 * time.Second

// firstTokenDelay is how long to wait before a token that was forbidden is requested
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
	prepared, edits, err := d.resolve(allocation, spaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %s: %w", allocation.Claim, spaceapi.ReasonInvalidParameters, err)
	}
	tokens, err := d.requestTokensWhenAllowed(ctx, waiting, prepared.Spaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %w", allocation.Claim, err)
	}
	step(metrics.StepToken)

	// The kubelet may have closed the connection or called Unprepare meanwhile: it
	// would not know about what is written now.
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare ResourceClaim %s: %w", allocation.Claim, context.Cause(ctx))
	}
	var files []credentials
	var cdiDevices []specs.Device
	var devices []kubeletplugin.Device
	for i, result := range allocation.Results {
		files = append(files, credentials{serverFiles: d.apiServer.files(claim.UID, prepared.Spaces[i]), token: tokens[i].token})
		// By the allocation's ID and not the claim's UID: the claim may be allocated again.
		name := allocation.ID
		if result.Subdir != "" {
			name += "-" + result.Subdir
		}
		cdiDevices = append(cdiDevices, deviceSpec(name, edits[i].Env, d.store.credentialsPath(claim.UID, result.Subdir), edits[i].Dirs))
		devices = append(devices, kubeletplugin.Device{
			Requests:     []string{result.Request},
			PoolName:     result.Pool,
			DeviceName:   result.Device,
			ShareID:      result.ShareID,
			CDIDeviceIDs: []string{d.specs.id(name)},
		})
	}
	// The spec comes last: without the claim in the store it is an orphan.
	if err := d.store.put(prepared, files); err != nil {
		return nil, err
	}
	if err := d.specs.write(claim.UID, cdiDevices); err != nil {
		return nil, err
	}
	step(metrics.StepFiles)
	d.tokens.add(prepared, seen, tokens)
	return devices, nil
}

// steps returns a function that observes the time since its last call.
func (d *Driver) steps() func(step string) {
	last := d.Clock.Now()
	return func(step string) {
		now := d.Clock.Now()
		d.Metrics.PrepareSteps.Observe(now.Sub(last), step)
		last = now
	}
}

// unprepare removes all that prepare may have left for a claim. It interrupts a prepare
// that is still waiting.
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
	if _, err := d.specs.remove(claim); err != nil {
		return err
	}
	return d.store.remove(claim)
}

// requestTokensWhenAllowed requests tokens for a pod that has just been bound to the node:
// the controller may not have recorded the node yet, and until then the API server forbids
// it. That takes milliseconds.
func (d *Driver) requestTokensWhenAllowed(ctx, waiting context.Context, spaces []preparedSpace) ([]tokenResult, error) {
	backoff := wait.Backoff{Duration: firstTokenDelay, Cap: rereadDelay, Factor: 2, Jitter: 0.5, Steps: backoffSteps}
	for {
		tokens := d.requestTokens(ctx, spaces)
		errs := make([]error, len(tokens))
		for i, t := range tokens {
			errs[i] = t.err
		}
		err := errors.Join(errs...)
		if !apierrors.IsForbidden(err) || d.pause(waiting, &backoff) != nil {
			return tokens, err
		}
		klog.FromContext(ctx).V(2).Info("Token request rejected, retrying", "err", err)
	}
}

// tokenResult is the result of the request for a token.
type tokenResult struct {
	token token.Token
	err   error
}

// requestTokens requests a token for each of a claim's spaces. It does so in parallel: a
// request that is not answered does not take the time of the others.
func (d *Driver) requestTokens(ctx context.Context, spaces []preparedSpace) []tokenResult {
	results := make([]tokenResult, len(spaces))
	var all sync.WaitGroup
	for i, space := range spaces {
		all.Go(func() {
			account := token.Account{Namespace: space.Namespace, Name: space.ServiceAccount, UID: space.ServiceAccountUID}
			results[i].token, results[i].err = d.TokenRequester.Request(ctx, account, space.TokenLifetime.Duration)
		})
	}
	all.Wait()
	return results
}

// resolve returns the claim as it is to be prepared, and what containers see of each
// space. The plugin does not know the installation's settings, and containers get nothing
// of them. The controller has resolved the same parameters; the error is about parameters
// that only a newer one could read.
func (d *Driver) resolve(a *allocation.Allocation, spaces []*spaceapi.SpaceStatus) (preparedClaim, []containeredits.Edits, error) {
	p := preparedClaim{Namespace: a.Claim.Namespace, Name: a.Claim.Name, UID: a.ClaimUID, AllocationID: a.ID}
	var configs []config.Container
	var namespaces []string
	for i, result := range a.Results {
		space, err := config.Defaults{Driver: d.Driver}.Resolve(a, result)
		if err != nil {
			return p, nil, err
		}
		configs = append(configs, space.Container)
		namespaces = append(namespaces, spaces[i].Namespace)
		p.Spaces = append(p.Spaces, preparedSpace{
			Subdir:            result.Subdir,
			Pool:              result.Pool,
			Device:            result.Device,
			Namespace:         spaces[i].Namespace,
			ServiceAccount:    spaces[i].ServiceAccount,
			ServiceAccountUID: spaces[i].ServiceAccountUID,
			TokenLifetime:     metav1.Duration{Duration: space.TokenLifetime},
		})
	}
	edits, err := containeredits.Build(d.Driver, d.apiServer.URL, a, configs, namespaces)
	return p, edits, err
}

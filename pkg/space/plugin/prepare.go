// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// answerMargin is what is left of the kubelet's deadline for the answer that a space did
// not become ready, or has no token.
const answerMargin = 5 * time.Second

// errDeallocated means that the claim no longer has the allocation in question.
var errDeallocated = errors.New("the claim has been deallocated")

// firstTokenDelay is how long to wait before a token that was forbidden is requested
// again. It takes longer each time.
const firstTokenDelay = 25 * time.Millisecond

// prepare makes a claim's spaces ready for containers on this node.
func (d *Driver) prepare(ctx context.Context, claim *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	a := allocation.FromClaim(claim, d.Driver)
	if a == nil {
		return nil, fmt.Errorf("ResourceClaim %s/%s is not allocated for driver %s", claim.Namespace, claim.Name, d.Driver)
	}
	ctx, unlock, err := d.locks.lock(ctx, claim.UID)
	if err != nil {
		return nil, fmt.Errorf("wait for an earlier call about ResourceClaim %s: %w", a.Claim, err)
	}
	defer unlock()
	timeout := d.PrepareTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, deadline.Sub(d.Clock.Now())-answerMargin)
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	step := d.steps()
	spaces, claim, err := d.waitUntilReady(ctx, waiting, claim, a)
	if err != nil {
		return nil, err
	}
	step(metrics.StepWait)
	prepared, edits, err := d.resolve(a, spaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %s: %w", a.Claim, spaceapi.ReasonInvalidParameters, err)
	}
	tokens, err := d.requestTokensWhenAllowed(waiting, prepared.Spaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %w", a.Claim, err)
	}
	step(metrics.StepToken)

	// The kubelet may have closed the connection or called Unprepare meanwhile: it
	// would not know about what is written now.
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare ResourceClaim %s: %w", a.Claim, context.Cause(ctx))
	}
	// The spec comes last: without the claim in the store it is an orphan.
	if err := d.store.put(prepared, tokens); err != nil {
		return nil, err
	}
	devices, err := d.specs.put(a, edits, func(subdir string) string { return d.store.credentialsPath(claim.UID, subdir) })
	if err != nil {
		return nil, err
	}
	step(metrics.StepFiles)
	d.know(prepared, claim, tokens)
	return devices, nil
}

// waitUntilReady returns the spaces of an allocation as soon as the controller reports
// all of them as ready, and the version of the claim in which it does. It waits until waiting
// ends. ctx is the context of the call, from which waiting is derived.
//
// Waiting is better than failing: after an error the kubelet retries only after a minute
// or more (k8s.io/kubernetes, pkg/kubelet/pod_workers.go).
func (d *Driver) waitUntilReady(ctx, waiting context.Context, claim *resourceapi.ResourceClaim, a *allocation.Allocation) ([]*spaceapi.SpaceStatus, *resourceapi.ResourceClaim, error) {
	start := d.Clock.Now()
	var spaces []*spaceapi.SpaceStatus
	var missing, final error
	serverErr := d.watchClaim(waiting, a.Claim, claim, rereadDelay, func(latest *resourceapi.ResourceClaim) bool {
		claim = latest
		spaces, missing, final = readSpaces(claim, d.Driver, a)
		return missing == nil || final != nil
	})
	// In whole seconds, so that equal events are counted as one.
	waited := d.Clock.Since(start).Truncate(time.Second)
	switch {
	case final != nil:
		return nil, nil, fmt.Errorf("ResourceClaim %s: %w", a.Claim, final)
	case missing == nil:
		return spaces, claim, nil
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("prepare ResourceClaim %s: %w", a.Claim, context.Cause(ctx))
	case serverErr != nil:
		return nil, nil, fmt.Errorf("waited %s for ResourceClaim %s to become ready: %w; the API server: %w", waited, a.Claim, missing, serverErr)
	default:
		return nil, nil, fmt.Errorf("waited %s for ResourceClaim %s to become ready: %w", waited, a.Claim, missing)
	}
}

// readSpaces returns the spaces of an allocation, or what is still missing. final is an error
// that waiting cannot change.
func readSpaces(claim *resourceapi.ResourceClaim, driver string, a *allocation.Allocation) (spaces []*spaceapi.SpaceStatus, missing, final error) {
	if now := allocation.FromClaim(claim, driver); now == nil || now.ID != a.ID {
		return nil, nil, errDeallocated
	}
	var reasons []string
	for _, result := range a.Results {
		ready, data, err := claimstatus.Read(claim, driver, a, result)
		switch {
		case err != nil:
			return nil, nil, err
		case data != nil && !result.MatchesName(data.Namespace):
			return nil, nil, fmt.Errorf("request %s: status.devices names namespace %s, which does not belong to this allocation", result.Request, data.Namespace)
		case data != nil:
			spaces = append(spaces, data)
		case ready == nil:
			reasons = append(reasons, fmt.Sprintf("request %s: no status reported by the controller of driver %s", result.Request, driver))
		case ready.Reason == spaceapi.ReasonInvalidParameters, ready.Reason == spaceapi.ReasonExpired:
			return nil, nil, fmt.Errorf("%s: %s", ready.Reason, ready.Message)
		default:
			reasons = append(reasons, fmt.Sprintf("request %s: %s: %s", result.Request, ready.Reason, ready.Message))
		}
	}
	if len(reasons) > 0 {
		return nil, errors.New(strings.Join(reasons, "; ")), nil
	}
	return spaces, nil, nil
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
	d.forget(claim)
	d.damaged.Delete(claim)
	if _, err := d.specs.remove(claim); err != nil {
		return err
	}
	return d.store.remove(claim)
}

// requestTokensWhenAllowed requests tokens for a pod that has just been bound to the node. Until
// the controller has recorded the node, which usually takes milliseconds, the API server forbids
// that: it repeats the requests until the context ends.
func (d *Driver) requestTokensWhenAllowed(ctx context.Context, spaces []preparedSpace) (tokens []token.Token, err error) {
	backoff := wait.Backoff{Duration: firstTokenDelay, Cap: rereadDelay, Factor: 2, Jitter: 0.5, Steps: backoffSteps}
	// The error of Until is that of ctx. The function is called at least once.
	_ = backoff.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		var errs []error
		tokens, errs = d.requestTokens(ctx, spaces, func(int) bool { return true })
		if err = errors.Join(errs...); !apierrors.IsForbidden(err) {
			return true, nil
		}
		klog.FromContext(ctx).V(2).Info("Token request rejected, retrying", "err", err)
		return false, nil
	})
	return tokens, err
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

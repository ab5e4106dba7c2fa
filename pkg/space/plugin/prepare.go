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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/config"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

// responseMargin is how long before the kubelet's deadline Prepare gives up waiting, so that the
// response with the reason arrives in time.
const responseMargin = 5 * time.Second

// errDeallocated means that the claim no longer has the allocation that is being prepared.
var errDeallocated = errors.New("the claim has been deallocated")

// preparation is what Prepare writes for an allocation of a claim.
type preparation struct {
	preparedClaim

	allocation *allocation.Allocation
	// edits are the variables and mounts of each space in containers.
	edits []containeredits.Edits
}

// prepare makes a claim's spaces ready for containers on this node. The caller has the claim's
// lock.
func (d *Driver) prepare(ctx context.Context, claim *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	timeout := d.PrepareTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, deadline.Sub(d.Clock.Now())-responseMargin)
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	step := d.steps()
	prepared, claim, err := d.waitUntilReady(waiting, claim)
	if err != nil {
		return nil, err
	}
	step(metrics.StepWait)
	tokens, err := d.requestTokensWhenAllowed(waiting, prepared.Spaces)
	if err != nil {
		return nil, fmt.Errorf("ResourceClaim %s: %w", prepared.claimName(), err)
	}
	step(metrics.StepToken)

	// The kubelet may have closed the connection or called Unprepare in the meantime. It
	// would not know about files that are written now.
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare ResourceClaim %s: %w", prepared.claimName(), context.Cause(ctx))
	}
	if stored, err := d.store.get(claim.UID); err == nil {
		prepared.keepCDIName(stored)
	}
	// The spec comes last: without the claim in the store it is an orphan.
	if err := d.store.put(prepared.preparedClaim, tokens); err != nil {
		return nil, err
	}
	devices, err := d.putSpec(prepared)
	if err != nil {
		return nil, err
	}
	step(metrics.StepFiles)
	d.track(ctx, prepared.preparedClaim, claim, tokens)
	return devices, nil
}

// putSpec creates or replaces the CDI spec of a claim, and returns its devices.
func (d *Driver) putSpec(prepared preparation) ([]kubeletplugin.Device, error) {
	return d.specs.put(prepared.allocation, prepared.cdiName(), prepared.edits, d.store.path(prepared.UID))
}

// waitUntilReady returns what to prepare for a claim as soon as the controller reports all of
// its spaces as ready, and the version of the claim with that report. It waits until ctx
// is done.
//
// Waiting is better than failing: after an error the kubelet retries only after a minute
// or more (k8s.io/kubernetes, pkg/kubelet/pod_workers.go).
func (d *Driver) waitUntilReady(ctx context.Context, claim *resourceapi.ResourceClaim) (prepared preparation, _ *resourceapi.ResourceClaim, err error) {
	start := d.Clock.Now()
	name := types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
	var missing []string
	if a := allocation.FromClaim(claim, d.Driver); a != nil {
		prepared.AllocationID = a.ID
	}
	serverErr := d.watchClaim(ctx, name, claim, rereadDelay, func(latest *resourceapi.ResourceClaim) (bool, error) {
		claim, missing = latest, []string{"its parameters have not been read"}
		readErr := d.claims.withParameters(ctx, claim, func(full *resourceapi.ResourceClaim) {
			before := prepared.AllocationID
			if prepared, missing, err = d.resolve(full); before != "" && prepared.AllocationID != before {
				err = errDeallocated
			}
		})
		return readErr == nil && (err != nil || len(missing) == 0), readErr
	})
	// In whole seconds, so that equal events are counted as one.
	waited := d.Clock.Since(start).Truncate(time.Second)
	switch {
	case err != nil:
		err = fmt.Errorf("ResourceClaim %s: %w", name, err)
	case len(missing) == 0:
	case !errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		err = fmt.Errorf("prepare ResourceClaim %s: %w", name, context.Cause(ctx))
	case serverErr != nil:
		err = fmt.Errorf("waited %s for ResourceClaim %s to become ready: %s; the API server: %w", waited, name, strings.Join(missing, "; "), serverErr)
	default:
		err = fmt.Errorf("waited %s for ResourceClaim %s to become ready: %s", waited, name, strings.Join(missing, "; "))
	}
	return prepared, claim, err
}

// resolve returns what to prepare for a version of a claim that has its parameters, or why its spaces
// are not ready yet. An error is final: no later version of the claim resolves it. The AllocationID is
// always set if there is one. The result does not refer to the parameters.
//
// The plugin does not know the settings of the installation, and nothing in containers depends on
// them. The controller has resolved the same parameters, so that an error about them means that only
// a newer version can read them.
func (d *Driver) resolve(claim *resourceapi.ResourceClaim) (prepared preparation, missing []string, err error) {
	a := allocation.FromClaim(claim, d.Driver)
	if a == nil {
		return prepared, nil, fmt.Errorf("not allocated for driver %s", d.Driver)
	}
	prepared.allocation = a
	prepared.preparedClaim = preparedClaim{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, AllocationID: a.ID}
	if a.FromTemplate {
		prepared.PodClaimName = a.PodClaimName
	}
	var configs []config.ContainerConfig
	var namespaces []string
	for _, result := range a.Results {
		ready, data, err := claimstatus.Read(claim, d.Driver, a, result)
		switch {
		case err != nil:
			return prepared, nil, err
		case data != nil && !result.MatchesName(data.Namespace):
			return prepared, nil, fmt.Errorf("request %s: status.devices names namespace %s, which does not belong to this allocation", result.Request, data.Namespace)
		case data != nil:
		case ready == nil:
			missing = append(missing, fmt.Sprintf("request %s: no status reported by the controller of driver %s", result.Request, d.Driver))
			continue
		case ready.Reason == spaceapi.ReasonInvalidParameters, ready.Reason == spaceapi.ReasonUnsupportedConsumer, ready.Reason == spaceapi.ReasonExpired:
			return prepared, nil, fmt.Errorf("%s: %s", ready.Reason, ready.Message)
		default:
			missing = append(missing, fmt.Sprintf("request %s: %s: %s", result.Request, ready.Reason, ready.Message))
			continue
		}
		space, err := config.Defaults{Driver: d.Driver}.Resolve(a, result)
		if err != nil {
			return prepared, nil, fmt.Errorf("%s: %w", spaceapi.ReasonInvalidParameters, err)
		}
		configs = append(configs, space.ContainerConfig)
		namespaces = append(namespaces, data.Namespace)
		prepared.Spaces = append(prepared.Spaces, preparedSpace{
			Subdir:            result.Subdir,
			Request:           result.Request,
			Pool:              result.Pool,
			Device:            result.Device,
			Namespace:         data.Namespace,
			ServiceAccount:    data.ServiceAccount,
			ServiceAccountUID: data.ServiceAccountUID,
			TokenLifetime:     metav1.Duration{Duration: space.TokenLifetime},
			EmbedToken:        space.EmbedToken,
		})
	}
	if len(missing) > 0 {
		return prepared, missing, nil
	}
	if prepared.edits, err = containeredits.Build(d.Driver, d.apiServer.URL, a, configs, namespaces); err != nil {
		return prepared, nil, fmt.Errorf("%s: %w", spaceapi.ReasonInvalidParameters, err)
	}
	for i, edits := range prepared.edits {
		prepared.Spaces[i].ContainerDir = edits.Dir()
	}
	a.Configs = nil // which are large
	return prepared, nil, nil
}

// resolveStripped is resolve for a stripped claim. It reads the claim if that is truncated.
func (d *Driver) resolveStripped(ctx context.Context, claim *resourceapi.ResourceClaim) (prepared preparation, missing []string, err error) {
	readErr := d.claims.withParameters(ctx, claim, func(full *resourceapi.ResourceClaim) {
		prepared, missing, err = d.resolve(full)
	})
	if readErr != nil {
		return prepared, nil, fmt.Errorf("read the parameters of ResourceClaim %s/%s: %w", claim.Namespace, claim.Name, readErr)
	}
	if a := allocation.FromClaim(claim, d.Driver); a != nil && a.ID != prepared.AllocationID {
		return prepared, nil, errDeallocated
	}
	return prepared, missing, err
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

// remove stops the renewal for a claim, and removes its files. The caller has its lock.
func (d *Driver) remove(claim types.UID) error {
	d.untrack(claim)
	d.damaged.Delete(claim)
	if _, err := d.specs.remove(claim); err != nil {
		return err
	}
	return d.store.remove(claim)
}

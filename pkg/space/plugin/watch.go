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
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

const (
	// rereadDelay is how long to wait before a claim is read again after a watch ended
	// or a read failed. It does not grow while a pod waits for the claim.
	rereadDelay = time.Second
	// maxRereadDelay is the longest delay for a claim that is prepared.
	maxRereadDelay = 30 * time.Second
	// backoffSteps is how often a delay can grow: until it has its maximum.
	backoffSteps = 100
)

// errDeallocated means that the claim no longer has the allocation in question.
var errDeallocated = errors.New("the claim has been deallocated")

// waiting is the context for what may take long in a call of the kubelet.
func (d *Driver) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := d.PrepareTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, deadline.Sub(d.Clock.Now())-answerMargin)
	}
	return context.WithTimeout(ctx, timeout)
}

// waitUntilReady returns the spaces of an allocation as soon as the controller reports
// all of them as ready, and the version of the claim in which it does.
//
// Waiting is better than failing: after an error the kubelet retries only after a minute
// or more (k8s.io/kubernetes, pkg/kubelet/pod_workers.go).
func (d *Driver) waitUntilReady(ctx, waiting context.Context, claim *resourceapi.ResourceClaim, a *allocation.Allocation) ([]*spaceapi.SpaceStatus, *resourceapi.ResourceClaim, error) {
	start := d.Clock.Now()
	var spaces []*spaceapi.SpaceStatus
	var seen *resourceapi.ResourceClaim
	var missing error
	err := d.watchClaim(waiting, claim.Namespace, claim.Name, claim.UID, claim, rereadDelay, func(claim *resourceapi.ResourceClaim) (bool, error) {
		if now := allocation.FromClaim(claim, d.Driver); now == nil || now.ID != a.ID {
			return false, errDeallocated
		}
		var err error
		seen = claim
		spaces, missing, err = readSpaces(claim, d.Driver, a)
		return missing == nil, err
	})
	// In whole seconds, so that equal events are counted as one.
	waited := d.Clock.Since(start).Truncate(time.Second)
	var interrupted *interruptedError
	switch {
	case err == nil:
		return spaces, seen, nil
	case !errors.As(err, &interrupted):
		return nil, nil, fmt.Errorf("ResourceClaim %s: %w", a.Claim, err)
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("prepare ResourceClaim %s: %w", a.Claim, context.Cause(ctx))
	case interrupted.last != nil:
		return nil, nil, fmt.Errorf("waited %s for ResourceClaim %s to become ready: %w; the API server: %w", waited, a.Claim, missing, interrupted.last)
	default:
		return nil, nil, fmt.Errorf("waited %s for ResourceClaim %s to become ready: %w", waited, a.Claim, missing)
	}
}

// readSpaces returns the claim's spaces, or what is still missing. The error is about what
// waiting can't change.
func readSpaces(claim *resourceapi.ResourceClaim, driver string, a *allocation.Allocation) (spaces []*spaceapi.SpaceStatus, missing, err error) {
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

// interruptedError means that the context ended while a claim was watched.
type interruptedError struct {
	// last is the API server's last error, or nil.
	last error
}

func (e *interruptedError) Error() string { return fmt.Sprintf("interrupted: %v", e.last) }

// watchClaim calls handle with each version of a claim, beginning with the newest known
// one, or with the one that it reads if that is nil. It returns when handle is done or
// fails, or when the context ends, with an interruptedError. The error is errDeallocated
// if the claim was deleted or replaced by another of its name. It continues when the API
// server is unavailable for some time. It needs permission to get and to watch.
func (d *Driver) watchClaim(ctx context.Context, namespace, name string, uid types.UID, claim *resourceapi.ResourceClaim, maxDelay time.Duration, handle func(*resourceapi.ResourceClaim) (bool, error)) error {
	var last error
	initial := wait.Backoff{Duration: rereadDelay, Cap: maxDelay, Factor: 2, Jitter: 0.5, Steps: backoffSteps}
	backoff := initial
	for {
		if claim == nil {
			claim, last = d.Client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		}
		switch {
		case isNotFound(last):
			return errDeallocated
		case last != nil:
			claim = nil
			if ctx.Err() == nil {
				klog.FromContext(ctx).V(2).Info("Cannot read the claim", "err", last)
			}
		case claim.UID != uid:
			return errDeallocated
		default:
			if done, err := handle(claim); done || err != nil {
				return err
			}
			var done bool
			var err error
			if done, last, err = d.watchFrom(ctx, claim, handle); done || err != nil {
				return err
			}
			claim, backoff = nil, initial
		}
		if d.pause(ctx, &backoff) != nil {
			return &interruptedError{last}
		}
		last = nil
	}
}

// watchFrom calls handle with the versions of a claim after this one, until handle is
// done or fails, or the watch breaks. Then broken is the reason, if there is one.
func (d *Driver) watchFrom(ctx context.Context, claim *resourceapi.ResourceClaim, handle func(*resourceapi.ResourceClaim) (bool, error)) (done bool, broken, err error) {
	w, err := d.Client.ResourceV1().ResourceClaims(claim.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, claim.Name).String(),
		ResourceVersion: claim.ResourceVersion,
	})
	if err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Cannot watch the claim", "err", err)
		}
		return false, err, nil
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil, nil
		case event, open := <-w.ResultChan():
			if !open {
				return false, nil, nil
			}
			next, ok := event.Object.(*resourceapi.ResourceClaim)
			switch {
			case !ok: // an error, such as a version that the server no longer has
				return false, apierrors.FromObject(event.Object), nil
			case event.Type == watch.Deleted || next.UID != claim.UID:
				return false, nil, errDeallocated
			}
			if done, err := handle(next); done || err != nil {
				return done, nil, err
			}
		}
	}
}

// pause waits before a request is repeated.
func (d *Driver) pause(ctx context.Context, backoff *wait.Backoff) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.Clock.After(backoff.Step()):
		return nil
	}
}

// isNotFound reports whether the API server knows that an object does not exist. It also
// answers 404 when it does not serve the kind at all, for instance during an upgrade; that
// says nothing about the object.
func isNotFound(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

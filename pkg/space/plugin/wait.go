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
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// rereadDelay is how long to wait before a claim is read again after a watch
// ended or a read failed.
const rereadDelay = time.Second

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

// since is in whole seconds, so that events that say the same are counted as one.
func (d *Driver) since(start time.Time) time.Duration {
	return d.Clock.Since(start).Truncate(time.Second)
}

// waitUntilReady returns the spaces of an allocation as soon as the controller
// says that all of them are ready, and the version of the claim that says so.
//
// Waiting is better than failing: after an error the kubelet comes back only
// after a minute or more (k8s.io/kubernetes, pkg/kubelet/pod_workers.go).
func (d *Driver) waitUntilReady(ctx, waiting context.Context, claim *resourceapi.ResourceClaim, a *identity.Allocation) ([]*spaceapi.SpaceStatus, *resourceapi.ResourceClaim, error) {
	start := d.Clock.Now()
	var spaces []*spaceapi.SpaceStatus
	var seen *resourceapi.ResourceClaim
	var missing error
	err := d.claims.follow(waiting, claim, func(claim *resourceapi.ResourceClaim) (bool, error) {
		if now := identity.Of(claim, d.Driver); now == nil || now.ID != a.ID {
			return false, errDeallocated
		}
		var err error
		seen = claim
		spaces, missing, err = readSpaces(claim, d.Driver, a)
		return missing == nil, err
	})
	var interrupted *interruptedError
	switch {
	case err == nil:
		return spaces, seen, nil
	case !errors.As(err, &interrupted):
		return nil, nil, fmt.Errorf("ResourceClaim %s: %w", a.Claim, err)
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("prepare ResourceClaim %s: %w", a.Claim, context.Cause(ctx))
	case interrupted.last != nil:
		return nil, nil, fmt.Errorf("waited %s for ResourceClaim %s to become ready: %w; the API server: %w", d.since(start), a.Claim, missing, interrupted.last)
	default:
		return nil, nil, fmt.Errorf("waited %s for ResourceClaim %s to become ready: %w", d.since(start), a.Claim, missing)
	}
}

// readSpaces returns the claim's spaces, or what is still missing. The error is
// for what waiting can't mend.
func readSpaces(claim *resourceapi.ResourceClaim, driver string, a *identity.Allocation) (spaces []*spaceapi.SpaceStatus, missing, err error) {
	var reasons []string
	for _, share := range a.Shares {
		ready, data, err := status.Read(claim, driver, a, share)
		switch {
		case err != nil:
			return nil, nil, err
		case data != nil && !share.Names(data.Namespace):
			return nil, nil, fmt.Errorf("request %s: status.devices names namespace %s, which is not this allocation's", share.Request, data.Namespace)
		case data != nil:
			spaces = append(spaces, data)
		case ready == nil:
			reasons = append(reasons, fmt.Sprintf("request %s: the controller of driver %s has not said anything yet", share.Request, driver))
		case ready.Reason == spaceapi.ReasonInvalidParameters, ready.Reason == spaceapi.ReasonExpired:
			return nil, nil, fmt.Errorf("%s: %s", ready.Reason, ready.Message)
		default:
			reasons = append(reasons, fmt.Sprintf("request %s: %s: %s", share.Request, ready.Reason, ready.Message))
		}
	}
	if len(reasons) > 0 {
		return nil, errors.New(strings.Join(reasons, "; ")), nil
	}
	return spaces, nil, nil
}

// interruptedError means that the context ended while a claim was followed.
type interruptedError struct {
	// last is what the API server said when it was last asked in vain, or nil.
	last error
}

func (e *interruptedError) Error() string { return fmt.Sprintf("interrupted: %v", e.last) }

// claimReader reads single claims. It needs the rights to get and to watch.
type claimReader struct {
	client kubernetes.Interface
	clock  clock.Clock
	// maxDelay is what the delay between two reads grows to, for as long as the
	// API server does not answer.
	maxDelay time.Duration
}

// pause waits before the API server is asked again. It takes longer each time,
// and not the same for all, so that a server that comes back is not overrun.
func (r claimReader) pause(ctx context.Context, delay *time.Duration) error {
	jittered := wait.Jitter(*delay, 0.5)
	*delay = min(2**delay, r.maxDelay)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.clock.After(jittered):
		return nil
	}
}

// follow shows each version of the claim to look, beginning with the given one,
// until that says that it has seen enough or fails, or the context ends, which
// is an interruptedError. When the claim is deleted, or replaced by another of
// the same name, the error is errDeallocated. The API server may come and go
// meanwhile.
func (r claimReader) follow(ctx context.Context, claim *resourceapi.ResourceClaim, look func(*resourceapi.ResourceClaim) (bool, error)) error {
	uid := claim.UID
	for {
		if done, err := look(claim); done || err != nil {
			return err
		}
		done, broken, err := r.watch(ctx, claim, look)
		if done || err != nil {
			return err
		}
		delay := rereadDelay
		if r.pause(ctx, &delay) != nil {
			return &interruptedError{broken}
		}
		next, err := r.read(ctx, claim.Namespace, claim.Name)
		var interrupted *interruptedError
		if errors.As(err, &interrupted) && interrupted.last == nil {
			interrupted.last = broken
		}
		if err != nil {
			return err
		}
		if claim = next; claim.UID != uid {
			return errDeallocated
		}
	}
}

// watch shows what comes after the given version, until look has seen enough or
// fails, or the watch breaks, for which broken may have the reason.
func (r claimReader) watch(ctx context.Context, claim *resourceapi.ResourceClaim, look func(*resourceapi.ResourceClaim) (bool, error)) (done bool, broken, err error) {
	w, err := r.client.ResourceV1().ResourceClaims(claim.Namespace).Watch(ctx, metav1.ListOptions{
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
			case !ok: // an error, such as a version that the server no longer knows
				return false, apierrors.FromObject(event.Object), nil
			case event.Type == watch.Deleted || next.UID != claim.UID:
				return false, nil, errDeallocated
			}
			if done, err := look(next); done || err != nil {
				return done, nil, err
			}
		}
	}
}

// read gets the claim, for as long as it takes the API server to answer. The
// errors are those of follow.
func (r claimReader) read(ctx context.Context, namespace, name string) (*resourceapi.ResourceClaim, error) {
	delay := rereadDelay
	for {
		claim, err := r.client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			return claim, nil
		case isGone(err):
			return nil, errDeallocated
		}
		if ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Cannot read the claim", "err", err)
		}
		if r.pause(ctx, &delay) != nil {
			return nil, &interruptedError{err}
		}
	}
}

// isGone says whether the API server knows that an object is not there. It answers
// 404 as well when it does not serve the kind at all, for instance in the middle of
// an upgrade; that says nothing about the object.
func isGone(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

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
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// rereadDelay is how long to wait before a claim is read again after a watch ended.
const rereadDelay = time.Second

// errDeallocated means that the claim no longer has the allocation in question.
var errDeallocated = errors.New("the claim has been deallocated")

// waitUntilReady returns the spaces of an allocation as soon as the controller
// says that all of them are ready, and the version of the claim that says so.
//
// Waiting is better than failing: after an error the kubelet comes back only
// after a minute or more (k8s.io/kubernetes, pkg/kubelet/pod_workers.go).
func (d *Driver) waitUntilReady(ctx context.Context, claim *resourceapi.ResourceClaim, a *identity.Allocation) ([]*spaceapi.SpaceStatus, *resourceapi.ResourceClaim, error) {
	timeout := d.PrepareTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, deadline.Sub(d.Clock.Now())-answerMargin)
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

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
	switch {
	case err == nil:
		return spaces, seen, nil
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("prepare ResourceClaim %s: %w", a.Claim, context.Cause(ctx))
	case waiting.Err() != nil:
		return nil, nil, fmt.Errorf("waited %s for ResourceClaim %s to become ready: %w", timeout, a.Claim, missing)
	default:
		return nil, nil, fmt.Errorf("ResourceClaim %s: %w", a.Claim, err)
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
		case data != nil:
			spaces = append(spaces, data)
		case ready == nil:
			reasons = append(reasons, fmt.Sprintf("request %s: the controller of driver %s has not said anything yet", share.Request, driver))
		case ready.Reason == spaceapi.ReasonRefused:
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

// claimReader reads single claims. It needs the rights to get and to watch.
type claimReader struct {
	client kubernetes.Interface
	clock  clock.Clock
}

// follow shows each version of the claim to look, beginning with the given one,
// until that says that it has seen enough or fails, or the context ends. When the
// claim is deleted, or replaced by another of the same name, the error is
// errDeallocated. The API server may come and go meanwhile.
func (r claimReader) follow(ctx context.Context, claim *resourceapi.ResourceClaim, look func(*resourceapi.ResourceClaim) (bool, error)) error {
	uid := claim.UID
	for {
		if done, err := look(claim); done || err != nil {
			return err
		}
		if done, err := r.watch(ctx, claim, look); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.clock.After(rereadDelay):
		}
		next, err := r.read(ctx, claim.Namespace, claim.Name)
		if err != nil {
			return err
		}
		if claim = next; claim.UID != uid {
			return errDeallocated
		}
	}
}

// watch shows what comes after the given version, until the watch breaks.
func (r claimReader) watch(ctx context.Context, claim *resourceapi.ResourceClaim, look func(*resourceapi.ResourceClaim) (bool, error)) (bool, error) {
	w, err := r.client.ResourceV1().ResourceClaims(claim.Namespace).Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector(metav1.ObjectNameField, claim.Name).String(),
		ResourceVersion: claim.ResourceVersion,
	})
	if err != nil {
		klog.FromContext(ctx).V(2).Info("Cannot watch the claim", "err", err)
		return false, ctx.Err()
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case event, open := <-w.ResultChan():
			if !open {
				return false, nil
			}
			next, ok := event.Object.(*resourceapi.ResourceClaim)
			switch {
			case !ok: // an error, such as a version that the server no longer knows
				return false, nil
			case event.Type == watch.Deleted || next.UID != claim.UID:
				return false, errDeallocated
			}
			if done, err := look(next); done || err != nil {
				return done, err
			}
		}
	}
}

// read gets the claim, for as long as it takes the API server to answer.
func (r claimReader) read(ctx context.Context, namespace, name string) (*resourceapi.ResourceClaim, error) {
	for {
		claim, err := r.client.ResourceV1().ResourceClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			return claim, nil
		case apierrors.IsNotFound(err):
			return nil, errDeallocated
		}
		klog.FromContext(ctx).V(2).Info("Cannot read the claim", "err", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.clock.After(rereadDelay):
		}
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// report says, in the same words, on the claim's condition, the claim's events
// and the events of the pods that wait for it, why there is no space. The
// condition of all shares goes together: the scheduler, where it looks at
// conditions, takes the first entry of a device for all of them.
func (c *Controller) report(ctx context.Context, claim *resourceapi.ResourceClaim, a *identity.Allocation, reason string, cause error) error {
	failed := c.giveUp(a)
	entries := make([]status.Entry, len(a.Shares))
	for i, share := range a.Shares {
		entries[i] = status.Entry{
			Share:  share,
			Failed: failed,
			Ready:  metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: cause.Error()},
		}
	}
	changed, err := c.writeStatus(ctx, claim, a, entries)
	if err != nil {
		return err
	}
	if !changed {
		return nil
	}
	c.Metrics.ProvisioningErrors.WithLabelValues(reason).Inc()
	klog.FromContext(ctx).Info("Space not ready", logkeys.Allocation, a.ID, logkeys.Reason, reason, "cause", cause.Error())
	c.Events.Event(reference(claim), corev1.EventTypeWarning, reason, cause.Error())
	for _, consumer := range claim.Status.ReservedFor {
		if isPod(consumer) {
			c.Events.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: claim.Namespace, Name: consumer.Name, UID: consumer.UID},
				corev1.EventTypeWarning, reason, fmt.Sprintf("ResourceClaim %s: %s", claim.Name, cause))
		}
	}
	return nil
}

// giveUp says whether the scheduler is to be told that this allocation leads
// nowhere. Only where it waits for the space before it binds the pod does it listen.
func (c *Controller) giveUp(a *identity.Allocation) bool {
	if !slices.ContainsFunc(a.Shares, func(s identity.Share) bool { return s.BindingConditions }) {
		return false
	}
	due, at := c.failed.due(a, c.Clock.Now())
	if !due {
		c.queue.AddAfter(a.Claim, at.Sub(c.Clock.Now()))
	}
	return due
}

// writeStatus puts the entries into the claim's status and says whether that
// changed anything. It gives up without an error when the allocation has gone:
// the claim's next event is already on its way then.
func (c *Controller) writeStatus(ctx context.Context, claim *resourceapi.ResourceClaim, a *identity.Allocation, entries []status.Entry) (bool, error) {
	api := c.Client.ResourceV1().ResourceClaims(claim.Namespace)
	updated := claim.DeepCopy()
	for {
		changed, err := status.Apply(updated, c.Settings.Driver, entries, metav1.NewTime(c.Clock.Now()))
		if errors.Is(err, status.ErrDigest) {
			// The cache has less of a claim whose spaces were ready than is to be written.
			if updated, err = c.readAgain(ctx, a); updated == nil {
				return false, err
			}
			continue
		}
		if err != nil || !changed {
			return false, err
		}
		// The resourceVersion makes sure that nothing is said about an
		// allocation that has been replaced meanwhile.
		_, err = api.UpdateStatus(ctx, updated, metav1.UpdateOptions{})
		if err == nil {
			return true, nil
		}
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		// Invalid is the answer for a share that is no longer allocated, and
		// for a missing right; only the claim itself tells which.
		if !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			return false, fmt.Errorf("write the status of ResourceClaim %s: %w", a.Claim, err)
		}
		live, getErr := c.readAgain(ctx, a)
		if live == nil {
			return false, getErr
		}
		if apierrors.IsInvalid(err) {
			return false, fmt.Errorf("write the status of ResourceClaim %s: %w", a.Claim, err)
		}
		updated = live
	}
}

// readAgain returns the claim of an allocation as the API server has it, or nil when the
// allocation has gone.
func (c *Controller) readAgain(ctx context.Context, a *identity.Allocation) (*resourceapi.ResourceClaim, error) {
	live, err := c.Client.ResourceV1().ResourceClaims(a.Claim.Namespace).Get(ctx, a.Claim.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ResourceClaim %s again: %w", a.Claim, err)
	}
	if now := identity.Of(live, c.Settings.Driver); now == nil || now.ID != a.ID {
		return nil, nil
	}
	return live, nil
}

// eventOnClaimOf records an event on the claim in the namespace's record, which
// need not exist any more. live is the claim of that name, or nil.
func (c *Controller) eventOnClaimOf(ns *corev1.Namespace, live *resourceapi.ResourceClaim, eventType, reason, message string) {
	key, uid := c.claimOf(ns), claimUIDOf(ns, c.keys)
	if live != nil && live.UID == uid {
		c.Events.Event(reference(live), eventType, reason, message)
		return
	}
	c.Events.Event(&corev1.ObjectReference{
		APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim", Namespace: key.Namespace, Name: key.Name, UID: uid,
	}, eventType, reason, message)
}

// eventOnSpace is eventOnClaimOf that is recorded on the namespace too, where
// somebody looks who wonders why it is still there.
func (c *Controller) eventOnSpace(ns *corev1.Namespace, live *resourceapi.ResourceClaim, eventType, reason, message string) {
	c.Events.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: ns.Name, UID: ns.UID}, eventType, reason, message)
	c.eventOnClaimOf(ns, live, eventType, reason, message)
}

func reference(claim *resourceapi.ResourceClaim) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim",
		Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
	}
}

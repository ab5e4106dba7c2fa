// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

const (
	// A failure condition makes the scheduler allocate the claim again, which it does
	// immediately and without limit. The first one is set after a time in which a transient
	// failure is over, each further one for the same claim after twice the time.
	firstBindingFailure = 10 * time.Second
	lastBindingFailure  = 10 * time.Minute
)

// reasonError is an error with the reason that conditions and events have for it.
type reasonError struct {
	reason string
	err    error
}

func (e *reasonError) Error() string { return e.err.Error() }
func (e *reasonError) Unwrap() error { return e.err }

// conditionReason returns the reason for an error.
func conditionReason(err error) string {
	var e *reasonError
	if errors.As(err, &e) {
		return e.reason
	}
	// The API server validates what the parameters have of its own types.
	if apierrors.IsInvalid(err) {
		return spaceapi.ReasonInvalidParameters
	}
	return spaceapi.ReasonProvisioningFailed
}

// reportReady writes the status of a claim whose spaces are ready, and records what was
// done for them. The spaces are in the order of the results.
func (r *Reconciler) reportReady(ctx context.Context, claim *resourceapi.ResourceClaim, desired *desiredState, spaces []provisioned, inUse bool, start time.Time) error {
	a := desired.allocation
	entries := make([]claimstatus.Entry, len(spaces))
	for i, space := range spaces {
		entries[i] = r.readyEntry(a, desired.spaces[i].result, desired.spaces[i].name, space.serviceAccountUID)
	}
	complete := r.clock.Now()
	changed, err := r.writeStatus(ctx, claim, a, entries)
	if err != nil {
		return err
	}
	if changed && !inUse {
		r.metrics.ProvisionSteps.Observe(r.clock.Since(complete), metrics.StepStatus)
		r.metrics.Provision.Observe(r.clock.Since(start), metrics.Succeeded)
	}
	logger := klog.FromContext(ctx)
	for i, entry := range entries {
		ns := entry.Data.Namespace
		switch restored := spaces[i].changed; {
		case inUse && len(restored) > 0:
			message := fmt.Sprintf("Restored %s in namespace %s after an external change", strings.Join(restored, " and "), ns)
			r.events.Event(reference(claim), corev1.EventTypeWarning, spaceapi.ReasonDriftCorrected, message)
			logger.Info("Space restored", logkeys.Namespace, ns, "objects", restored)
		case !inUse && changed:
			r.events.Event(reference(claim), corev1.EventTypeNormal, spaceapi.ReasonProvisioned, entry.Ready.Message)
			logger.Info("Space ready", logkeys.Namespace, ns, logkeys.Allocation, a.ID,
				logkeys.Request, entry.Result.Request, logkeys.Duration, r.clock.Since(start).Round(time.Millisecond))
		}
	}
	return nil
}

// readyEntry returns the entry in the claim's status for a space that is ready.
func (r *Reconciler) readyEntry(a *allocation.Allocation, result allocation.Result, namespace string, account types.UID) claimstatus.Entry {
	return claimstatus.Entry{
		Result: result,
		Ready: metav1.Condition{
			Status:  metav1.ConditionTrue,
			Reason:  spaceapi.ReasonProvisioned,
			Message: fmt.Sprintf("Namespace %s is ready", namespace),
		},
		Data: &spaceapi.SpaceStatus{
			TypeMeta:          metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceStatusKind},
			AllocationID:      a.ID,
			Namespace:         namespace,
			ServiceAccount:    spaceapi.ServiceAccountName,
			ServiceAccountUID: account,
			Server:            r.config.Server,
			Kubeconfig:        containeredits.Kubeconfig(r.config.Server, containeredits.CredentialsDir(a.ClaimUID, result.Subdir), namespace),
		},
	}
}

// reportNotReady reports, with the same message, in the claim's condition, its events and
// the events of the pods that wait for it, why there is no space. All results have the same
// condition: the scheduler, where it reads conditions, takes the first entry of a device for
// all of them. It returns when to reconcile again, zero for never.
func (r *Reconciler) reportNotReady(ctx context.Context, claim *resourceapi.ResourceClaim, a *allocation.Allocation, cause error) (time.Duration, error) {
	reason := conditionReason(cause)
	failBinding, after := r.shouldFailBinding(claim, a)
	entries := make([]claimstatus.Entry, len(a.Results))
	for i, result := range a.Results {
		entries[i] = claimstatus.Entry{
			Result: result,
			Failed: failBinding,
			Ready:  metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: cause.Error()},
		}
	}
	changed, err := r.writeStatus(ctx, claim, a, entries)
	if err != nil || !changed {
		return after, err
	}
	if failBinding {
		r.failedBindings.Add(a.Claim, r.bindingFailures(a)+1)
	}
	r.metrics.ProvisioningErrors.WithLabelValues(reason).Inc()
	klog.FromContext(ctx).Info("Space not ready", logkeys.Allocation, a.ID, logkeys.Reason, reason, "cause", cause.Error())
	r.events.Event(reference(claim), corev1.EventTypeWarning, reason, cause.Error())
	for _, consumer := range claim.Status.ReservedFor {
		if isPod(consumer) {
			r.events.Event(&corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: claim.Namespace, Name: consumer.Name, UID: consumer.UID},
				corev1.EventTypeWarning, reason, fmt.Sprintf("ResourceClaim %s: %s", claim.Name, cause))
		}
	}
	return after, nil
}

// shouldFailBinding returns whether the scheduler is to deallocate a claim
// that is not ready, or when. Only where it waits for the space before it binds the pod
// does it read that.
func (r *Reconciler) shouldFailBinding(claim *resourceapi.ResourceClaim, a *allocation.Allocation) (bool, time.Duration) {
	if !slices.ContainsFunc(a.Results, func(s allocation.Result) bool { return len(s.BindingConditions) > 0 }) {
		return false, 0
	}
	conditions := claimstatus.Conditions(claim, r.config.Defaults.Driver, a.Results[0])
	if meta.IsStatusConditionTrue(conditions, spaceapi.ConditionFailed) {
		return true, 0
	}
	delay := lastBindingFailure
	// Beyond that the shift would overflow.
	if times := r.bindingFailures(a); times < 16 {
		delay = min(firstBindingFailure<<times, lastBindingFailure)
	}
	if ready := meta.FindStatusCondition(conditions, spaceapi.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
		delay -= r.clock.Since(ready.LastTransitionTime.Time)
	}
	return delay <= 0, max(delay, 0)
}

// bindingFailures is how often Failed was set for an allocation of the claim.
func (r *Reconciler) bindingFailures(a *allocation.Allocation) int {
	value, _ := r.failedBindings.Get(a.Claim)
	n, _ := value.(int)
	return n
}

// writeStatus writes the entries into the claim's status and returns whether that changed
// anything. It is no error that the allocation no longer exists: the claim's next event is
// on its way then.
func (r *Reconciler) writeStatus(ctx context.Context, claim *resourceapi.ResourceClaim, a *allocation.Allocation, entries []claimstatus.Entry) (bool, error) {
	driver := r.config.Defaults.Driver
	updated := claim.DeepCopy()
	for {
		changed, err := claimstatus.Apply(updated, driver, entries, metav1.NewTime(r.clock.Now()))
		if err != nil || !changed {
			return false, err
		}
		// The resourceVersion makes sure that nothing is written about an allocation that was replaced.
		if err = r.client.Status().Update(ctx, updated); err == nil {
			return true, nil
		}
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		err = fmt.Errorf("write the status of ResourceClaim %s: %w", a.Claim, err)
		// The API server answers Invalid for a result that is no longer allocated, and for a missing
		// permission; only the claim itself shows which.
		if !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			return false, err
		}
		live, getErr := getClaim(ctx, r.client.APIReader, a.Claim)
		if now := allocation.FromClaim(live, driver); getErr != nil || now == nil || now.ID != a.ID {
			return false, getErr
		}
		if apierrors.IsInvalid(err) {
			return false, err
		}
		updated = live
	}
}

// isExpired returns whether the claim's status reports that the allocation's spaces expired.
func isExpired(claim *resourceapi.ResourceClaim, driver string, a *allocation.Allocation) bool {
	return slices.ContainsFunc(a.Results, func(result allocation.Result) bool {
		ready := meta.FindStatusCondition(claimstatus.Conditions(claim, driver, result), spaceapi.ConditionReady)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == spaceapi.ReasonExpired
	})
}

// reference returns a reference to a claim for events.
func reference(claim *resourceapi.ResourceClaim) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim",
		Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
	}
}

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
	"k8s.io/klog/v2"
	utilstrings "k8s.io/utils/strings"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/logkeys"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

const (
	// A failure condition makes the scheduler allocate the claim again, immediately and without
	// limit. The first one is set after a time in which transient failures end, and each further
	// one for the same claim after twice the time.
	firstBindingFailure = 10 * time.Second
	lastBindingFailure  = 10 * time.Minute
	// maxMessage is the maximum length of a message in bytes. The API server rejects a status with
	// very long ones, such as denials of several webhooks.
	maxMessage = 4096
)

// reasonError is an error with its reason in conditions and events.
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
	// The API server validates parameters whose types are its own, such as quotas.
	if isValidationError(err) {
		return spaceapi.ReasonInvalidParameters
	}
	return spaceapi.ReasonProvisioningFailed
}

// isValidationError reports whether the API server's validation rejected an object. Admission policies
// deny requests with the same reason, but without a field.
func isValidationError(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(cause metav1.StatusCause) bool { return cause.Field != "" })
}

// isReady reports whether all spaces of the allocation are ready according to the claim's status.
func isReady(claim *resourceapi.ResourceClaim, driver string, a *allocation.Allocation) bool {
	return !slices.ContainsFunc(a.Results, func(result allocation.Result) bool {
		_, data, err := claimstatus.Read(claim, driver, a, result)
		return err != nil || data == nil
	})
}

// isExpired reports whether the conditions of a result report that its space expired.
func isExpired(conditions []metav1.Condition) bool {
	ready := meta.FindStatusCondition(conditions, spaceapi.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == spaceapi.ReasonExpired
}

// reportReady writes the status of a claim whose spaces are ready. If they were not ready before, it
// also records events and the durations since start.
func (r *Reconciler) reportReady(ctx context.Context, desired *desiredClaim, start time.Time) error {
	var entries []claimstatus.Entry
	for _, space := range desired.spaces {
		entries = append(entries, claimstatus.Entry{
			Result: space.Result,
			Ready: metav1.Condition{
				Status:  metav1.ConditionTrue,
				Reason:  spaceapi.ReasonProvisioned,
				Message: fmt.Sprintf("Namespace %s is ready", space.name),
			},
			Data: &spaceapi.SpaceStatus{
				TypeMeta:          metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceStatusKind},
				AllocationID:      desired.ID,
				Namespace:         space.name,
				ServiceAccount:    spaceapi.ServiceAccountName,
				ServiceAccountUID: space.serviceAccountUID,
				Server:            r.config.Server,
				Kubeconfig:        containeredits.Kubeconfig(r.config.Server, containeredits.CredentialsDir(desired.ClaimUID, space.Subdir), space.name, ""),

				ExpirationTimestamp:    desired.endOf(desired.lifetime),
				MaxExpirationTimestamp: desired.endOf(desired.maxLifetime),
			},
		})
	}
	complete := r.clock.Now()
	changed, err := r.writeStatus(ctx, desired, entries)
	if err != nil || !changed || desired.inUse {
		return err
	}
	r.metrics.ProvisionSteps.Observe(r.clock.Since(complete), metrics.StepStatus)
	r.metrics.Provision.Observe(r.clock.Since(start), metrics.Succeeded)
	for _, entry := range entries {
		r.events.Event(desired.claim, corev1.EventTypeNormal, spaceapi.ReasonProvisioned, entry.Ready.Message)
		klog.FromContext(ctx).Info("Space ready", logkeys.Namespace, entry.Data.Namespace, logkeys.Allocation, desired.ID,
			logkeys.Request, entry.Result.Request, logkeys.Duration, r.clock.Since(start).Round(time.Millisecond))
	}
	return nil
}

// reportNotReady reports why there is no space in the claim's condition, and in events of the claim and
// its pods. All results have the same condition, because the scheduler reads only the first entry of a
// device. It returns the delay until the next reconcile, zero for never.
func (r *Reconciler) reportNotReady(ctx context.Context, desired *desiredClaim, cause error) (time.Duration, error) {
	// The errors of several spaces are joined with line breaks.
	message := shortened(strings.ReplaceAll(cause.Error(), "\n", "; "))
	reason := conditionReason(cause)
	failBinding, after := r.shouldFailBinding(desired)
	var entries []claimstatus.Entry
	for _, space := range desired.spaces {
		entries = append(entries, claimstatus.Entry{
			Result:        space.Result,
			BindingFailed: failBinding,
			Ready:         metav1.Condition{Status: metav1.ConditionFalse, Reason: reason, Message: message},
		})
	}
	changed, err := r.writeStatus(ctx, desired, entries)
	if err != nil || !changed {
		return after, err
	}
	if failBinding {
		r.bindingFailures.Add(desired.Claim, r.bindingFailuresOf(desired)+1)
	}
	r.metrics.ProvisioningErrors.WithLabelValues(reason).Inc()
	klog.FromContext(ctx).Info("Space not ready", logkeys.Allocation, desired.ID, logkeys.Reason, reason, "cause", message)
	r.warnClaimAndPods(desired, reason, message)
	return after, nil
}

// shortened returns a message that the API server accepts.
func shortened(message string) string {
	return strings.ToValidUTF8(utilstrings.ShortenString(message, maxMessage), "")
}

// warnClaimAndPods records an event on a claim and on the pods that use it.
func (r *Reconciler) warnClaimAndPods(desired *desiredClaim, reason, message string) {
	r.events.Event(desired.claim, corev1.EventTypeWarning, reason, message)
	for _, consumer := range desired.claim.Status.ReservedFor {
		if isPod(consumer) {
			r.events.Event(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: desired.Claim.Namespace, Name: consumer.Name, UID: consumer.UID}},
				corev1.EventTypeWarning, reason, fmt.Sprintf("ResourceClaim %s: %s", desired.Claim.Name, message))
		}
	}
}

// shouldFailBinding reports whether to set the condition BindingFailed of a claim that is not ready,
// which makes the scheduler deallocate it, or else the delay until then. Without binding conditions,
// the scheduler does not read it, and the delay is zero for never.
func (r *Reconciler) shouldFailBinding(desired *desiredClaim) (bool, time.Duration) {
	if !desired.hasBindingConditions() {
		return false, 0
	}
	if meta.IsStatusConditionTrue(desired.conditions, spaceapi.ConditionBindingFailed) {
		return true, 0
	}
	// The shift is bounded so that it does not overflow.
	delay := min(firstBindingFailure<<min(r.bindingFailuresOf(desired), 16), lastBindingFailure)
	if ready := meta.FindStatusCondition(desired.conditions, spaceapi.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
		delay -= r.clock.Since(ready.LastTransitionTime.Time)
	}
	return delay <= 0, max(delay, 0)
}

// bindingFailuresOf returns how often BindingFailed was set for allocations of the claim.
func (r *Reconciler) bindingFailuresOf(desired *desiredClaim) int {
	value, _ := r.bindingFailures.Get(desired.Claim)
	n, _ := value.(int)
	return n
}

// writeStatus writes the entries to the claim's status, and reports whether that changed it. It is not
// an error if the allocation no longer exists: a watch event leads to another reconcile then.
func (r *Reconciler) writeStatus(ctx context.Context, desired *desiredClaim, entries []claimstatus.Entry) (bool, error) {
	driver := r.config.Defaults.Driver
	updated := desired.claim.DeepCopy()
	for {
		changed, err := claimstatus.Apply(updated, driver, entries, metav1.NewTime(r.clock.Now()))
		if err != nil || !changed {
			return false, err
		}
		// The resourceVersion ensures that the status of a later allocation is not overwritten.
		if err = r.client.Status().Update(ctx, updated); err == nil {
			desired.restored.Store(desired.restored.Load() || desired.inUse)
			return true, nil
		}
		// The API server responds with Invalid both for a result that is no longer allocated and for
		// a missing permission. Only the claim shows which of them it is.
		live, getErr := getClaim(ctx, r.client.APIReader, desired.Claim)
		if now := allocation.FromClaim(live, driver); getErr == nil && (now == nil || now.ID != desired.ID) {
			return false, nil
		}
		if getErr != nil || !apierrors.IsConflict(err) {
			return false, fmt.Errorf("write the status of ResourceClaim %s: %w", desired.Claim, errors.Join(err, getErr))
		}
		updated = live
	}
}

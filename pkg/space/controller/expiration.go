// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilstrings "k8s.io/utils/strings"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// maxExpirationWarning is how long before its end the controller reports that a space expires, unless a
// tenth of its lifetime is shorter.
const maxExpirationWarning = 10 * time.Minute

// extensionOf returns by how much the annotation of a claim extends the lifetimes of its spaces.
func extensionOf(claim *resourceapi.ResourceClaim, keys spaceapi.Keys) (time.Duration, error) {
	value, exists := claim.Annotations[keys.Extension]
	if !exists {
		return 0, nil
	}
	extension, err := time.ParseDuration(value)
	if err != nil || extension < 0 {
		return 0, fmt.Errorf("annotation %s: Invalid value: %q: must be a duration, such as 1h30m", keys.Extension, utilstrings.ShortenString(value, 64))
	}
	return extension, nil
}

// setLifetime sets the lifetime of the claim's spaces, which expire together. An extension that exceeds
// what their classes allow is limited to that.
func (d *desiredClaim) setLifetime(keys spaceapi.Keys, now time.Time) {
	var extension time.Duration
	extension, d.invalidExtension = extensionOf(d.claim, keys)
	for _, space := range d.spaces {
		lifetime, maxExtension := space.config.MaxLifetime.Duration, space.config.MaxExtension.Duration
		if lifetime == 0 {
			continue
		}
		if extension > maxExtension {
			d.invalidExtension = fmt.Errorf("annotation %s: Invalid value: %q: the class allows at most %s, which applies", keys.Extension, extension, maxExtension)
		}
		d.lifetime = soonest(d.lifetime, lifetime+min(extension, maxExtension))
		d.maxLifetime = soonest(d.maxLifetime, lifetime+maxExtension)
	}
	d.expiresIn = d.lifetime
	if end := d.endOf(d.lifetime); end != nil {
		d.expiresIn = end.Sub(now)
	}
	// That a space expired is final. A later extension does not change what was reported, either.
	final := isExpired(d.conditions)
	if d.lifetime == 0 || d.expiresIn > 0 && !final {
		return
	}
	d.expired, d.expiresIn = true, 0
	// Revocation can fail, so that only its own event reports it.
	cause := fmt.Errorf("the space reached its maximum lifetime of %s: the controller deprovisions it, and reports in an event when the credentials are revoked", d.lifetime)
	if final {
		cause = errors.New(meta.FindStatusCondition(d.conditions, spaceapi.ConditionReady).Message)
	}
	d.rejected = &reasonError{spaceapi.ReasonExpired, cause}
}

// endOf returns the end of a lifetime, or nil if it is not limited or has not begun. It begins with the
// allocation or, before Kubernetes 1.36, with the first namespace.
func (d *desiredClaim) endOf(lifetime time.Duration) *metav1.Time {
	start := d.AllocatedAt
	if start.IsZero() {
		for _, space := range d.spaces {
			if ns := space.namespace; ns != nil && (start.IsZero() || ns.CreationTimestamp.Time.Before(start)) {
				start = ns.CreationTimestamp.Time
			}
		}
	}
	if lifetime == 0 || start.IsZero() {
		return nil
	}
	return &metav1.Time{Time: start.Add(lifetime)}
}

// warning identifies an event that is not repeated with the same message.
type warning struct {
	claim  types.UID
	reason string
}

// warnOnce is warnClaimAndPods, unless this process last reported the same.
func (r *Reconciler) warnOnce(desired *desiredClaim, reason, message string) {
	key := warning{desired.ClaimUID, reason}
	if last, _ := r.warnings.Get(key); last != message {
		r.warnings.Add(key, message)
		r.warnClaimAndPods(desired, reason, message)
	}
}

// reportExpiration reports, on a claim in use and its pods, an extension that is invalid, and that the
// spaces expire soon. It returns the delay until the latter, zero for never.
func (r *Reconciler) reportExpiration(desired *desiredClaim) time.Duration {
	if desired.lifetime == 0 || desired.rejected != nil {
		return 0
	}
	if desired.invalidExtension != nil {
		r.warnOnce(desired, spaceapi.ReasonInvalidExtension, desired.invalidExtension.Error())
	}
	if after := desired.expiresIn - min(maxExpirationWarning, desired.lifetime/10); after > 0 {
		return after
	}
	end, last := desired.endOf(desired.lifetime), desired.endOf(desired.maxLifetime)
	if !desired.inUse || end == nil {
		return 0
	}
	message := fmt.Sprintf("the space expires at %s, and its class allows no further extension", end.UTC().Format(time.RFC3339))
	if end.Before(last) {
		message = fmt.Sprintf("the space expires at %s. To extend its lifetime, at most until %s: kubectl space extend %s DURATION --namespace %s",
			end.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339), desired.Claim.Name, desired.Claim.Namespace)
	}
	r.warnOnce(desired, spaceapi.ReasonExpiresSoon, message)
	return 0
}

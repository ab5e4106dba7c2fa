// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const (
	// troubleAfter is for how long renewing a claim's tokens fails before its
	// users are told. An API server that restarts is back by then, and the
	// shortest-lived tokens still have two minutes to go. It is a time and not a
	// number of tries, so that it means the same however the tries are spread.
	troubleAfter = time.Minute
	// troubleAgain is how often they are told for as long as it lasts.
	troubleAgain = 10 * time.Minute
)

// trouble is since when the tokens of a claim can't be renewed, and when its users
// were told last.
type trouble struct {
	since, told time.Time
}

// report takes note of a renewal that failed, and tells the claim's users when
// that is no longer a passing thing.
func (d *Driver) report(t *trouble, p preparedClaim, err error) {
	now := d.Clock.Now()
	if t.since.IsZero() {
		t.since = now
	}
	if now.Sub(t.since) < troubleAfter || !t.told.IsZero() && now.Sub(t.told) < troubleAgain {
		return
	}
	t.told = now
	claim := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
	d.Events.Eventf(claim, corev1.EventTypeWarning, spaceapi.ReasonRenewalFailing,
		"Node %s has not been able to renew the tokens of this claim for %s: %v", d.Node, now.Sub(t.since).Round(time.Second), err)
}

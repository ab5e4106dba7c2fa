// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestReconcile_doesNothingForASpaceThatIsReady(t *testing.T) {
	claim := claimFor("a")
	c := newClusterWith(t, func(config *Config) { config.Defaults.Network = spaceapi.NetworkIsolated }, claim)
	c.catchUp(claim)
	c.reconcileAndCatchUp(t)
	c.did()
	for range 3 {
		if result, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil || result.RequeueAfter != 0 {
			t.Errorf("got %v, error %v", result, err)
		}
	}
	if did := c.did(); len(did) != 0 {
		t.Errorf("did %q", did)
	}
}

func TestReconcile_doesNothingWhenTheProcessStops(t *testing.T) {
	c, _ := withSpace(t, unchanged)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Reconcile(ctx, reconcile.Request{NamespacedName: key}); err != nil {
		t.Error(err)
	}
	if did := c.did(); len(did) > 0 {
		t.Errorf("did %q", did)
	}
}

// delays is a queue that records after how long requests are added.
type delays struct {
	queue
	added []time.Duration
}

func (d *delays) AddAfter(_ reconcile.Request, after time.Duration) { d.added = append(d.added, after) }

func TestReconcile_isNotLateForTheExpiryAfterAFailure(t *testing.T) {
	claim := ofClass(claimFor("a"), `"maxLifetime":"40s"`)
	c := newCluster(t, claim)
	c.catchUp(claim)
	c.fail("create namespaces", errors.New("the API server is overloaded"))
	delays := &delays{}
	c.Reconciler.queue = delays
	result, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
	if err == nil || result.RequeueAfter != 0 {
		t.Errorf("got %v, error %v, want an error only: with one, the result is ignored", result, err)
	}
	if !slices.Equal(delays.added, []time.Duration{40 * time.Second}) {
		t.Errorf("the claim is added after %v, want when it expires", delays.added)
	}
}

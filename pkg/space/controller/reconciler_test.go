// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestReconcile_makesNoRequestForAReadySpace(t *testing.T) {
	claim := claimFor("a")
	c := newClusterWith(t, func(config *Config) { config.Defaults.Network = spaceapi.NetworkIsolated }, claim)
	c.syncCache(claim)
	c.reconcileAndSyncCache(t)
	c.requests()
	for range 3 {
		if result, err := c.reconcile(); err != nil || result.RequeueAfter != 0 {
			t.Errorf("got %v, error %v", result, err)
		}
	}
	if requests := c.requests(); len(requests) != 0 {
		t.Errorf("got requests %q", requests)
	}
}

func TestReconcile_makesNoRequestWhenTheProcessStops(t *testing.T) {
	c, _ := newClusterWithSpace(t, unchanged)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Reconcile(ctx, reconcile.Request{NamespacedName: key}); err != nil {
		t.Error(err)
	}
	if requests := c.requests(); len(requests) > 0 {
		t.Errorf("got requests %q", requests)
	}
}

// delays is a queue that records the delays of AddAfter.
type delays struct {
	queue
	added []time.Duration
}

func (d *delays) AddAfter(_ reconcile.Request, after time.Duration) { d.added = append(d.added, after) }

func TestReconcile_schedulesTheExpiryAfterAFailure(t *testing.T) {
	claim := withClassConfig(claimFor("a"), `"maxLifetime":"40s"`)
	c := newCluster(t, claim)
	c.syncCache(claim)
	c.fail("create namespaces", errors.New("the API server is overloaded"))
	delays := &delays{}
	c.Reconciler.queue = delays
	result, err := c.reconcile()
	if err == nil || result.RequeueAfter != 0 {
		t.Errorf("got %v, error %v, want an error only", result, err)
	}
	if !slices.Equal(delays.added, []time.Duration{36 * time.Second}) { // It schedules the expiry itself then.
		t.Errorf("got delays %v, want that of the event before the expiry", delays.added)
	}
}

func TestReconcile_reportsTheExpiryIfRevocationFails(t *testing.T) {
	for event, failure := range map[string]error{"Normal Deprovisioned ": nil, "Warning DeprovisioningFailed ": errors.New("no")} {
		claim := withClassConfig(claimFor("a"), `"maxLifetime":"1h"`)
		claim.Status.Allocation.AllocationTimestamp = new(metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)))
		c := newCluster(t, claim)
		c.syncCache(claim)
		c.mustReconcile()
		c.syncCache(claimKey(), c.namespaceFor(claim))
		c.recordedEvents()
		c.now.Step(time.Hour)
		if failure != nil {
			c.fail("delete rolebindings", failure)
		}
		if _, err := c.reconcile(); !errors.Is(err, failure) {
			t.Errorf("got error %v, want %v", err, failure)
		}
		recorded := c.recordedEvents()
		for _, want := range []string{event, "Warning Expired the space reached its maximum lifetime of 1h0m0s: the controller deprovisions it, and reports in an event when the credentials are revoked"} {
			if !slices.ContainsFunc(recorded, func(e string) bool { return strings.HasPrefix(e, want) }) {
				t.Errorf("recorded %q, want %q", recorded, want)
			}
		}
	}
}

// notServed returns the error of client-go for the response of an API server that does not serve a
// kind.
func notServed(resource string) error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{Resource: resource}, "", "404 page not found", 0, true)
}

// An API server may not serve a kind for some time, for example during an upgrade. The objects of
// that kind exist nevertheless.
func TestReconcile_retriesIfAKindIsNotServed(t *testing.T) {
	pod := podOn("pod", "node-a")
	deallocated := func(c *cluster) { c.updateClaim(deallocate) }
	claimNotCached := func(c *cluster) { c.caches.remove(c.currentClaim()) }
	for call, test := range map[string]struct {
		before func(c *cluster)
		never  []string
	}{
		"get resourceclaims":     {claimNotCached, []string{"delete", "patch"}},
		"get namespaces":         {func(c *cluster) { c.caches.remove(c.namespaceFor(claimFor("a"))) }, []string{"create", "delete"}},
		"get serviceaccounts":    {func(c *cluster) { c.caches.remove(c.spaceWith().ServiceAccount) }, []string{"delete", "patch"}},
		"get pods":               {func(c *cluster) { c.podNodes.Clear(); c.addConsumer() }, []string{"patch namespaces"}},
		"patch namespaces":       {func(c *cluster) { c.podNodes.Clear(); c.addConsumer() }, nil},
		"delete rolebindings":    {deallocated, []string{"delete serviceaccounts", "delete namespaces"}},
		"delete serviceaccounts": {deallocated, []string{"delete namespaces"}},
		"delete namespaces":      {deallocated, nil},
	} {
		t.Run(call, func(t *testing.T) {
			c := newCluster(t, claimUsedBy(pod), pod)
			c.syncCache(claimUsedBy(pod))
			c.reconcileAndSyncCache(t)
			test.before(c)
			c.requests()
			_, resource, _ := strings.Cut(call, " ")
			c.fail(call, notServed(resource))
			_, err := c.reconcile()
			requests := c.requests()
			if err == nil || !slices.Contains(requests, call) {
				t.Errorf("got error %v after %q", err, requests)
			}
			for _, never := range test.never {
				if slices.ContainsFunc(requests, func(request string) bool { return request != call && strings.HasPrefix(request, never) }) {
					t.Errorf("got requests %q", requests)
				}
			}
		})
	}
}

// addConsumer adds a pod to the consumers of the claim.
func (c *cluster) addConsumer() {
	other := podOn("other", "node-b")
	c.createInAPI(other)
	c.updateClaim(func(claim *resourceapi.ResourceClaim) {
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, claimUsedBy(other).Status.ReservedFor...)
	})
}

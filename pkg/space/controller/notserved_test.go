// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// notServed is what client-go makes of the 404 of an API server that does not serve a kind.
func notServed(resource string) error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{Resource: resource}, "", "404 page not found", 0, true)
}

// An API server may not serve a kind for some time, for example during an upgrade. The objects of
// that kind exist nevertheless.
func TestReconcile_takesAKindThatIsNotServedForAnError(t *testing.T) {
	pod := podOn("pod", "node-a")
	deallocated := func(c *cluster) {
		live := c.liveOne()
		live.Status.Allocation, live.Status.ReservedFor, live.Status.Devices = nil, nil, nil
		if err := c.api.Status().Update(c.t.Context(), live); err != nil {
			c.t.Fatal(err)
		}
		c.catchUp(live)
	}
	// The cache of the claims lags behind, or is of an API server that does not serve them.
	claimNotCached := func(c *cluster) { c.caches.remove(c.liveOne()) }
	for call, test := range map[string]struct {
		before func(c *cluster)
		never  []string
	}{
		"get resourceclaims":     {claimNotCached, []string{"delete", "patch"}},
		"get namespaces":         {func(c *cluster) { c.caches.remove(c.namespaceFor(claimFor("a"))) }, []string{"create", "delete"}},
		"get serviceaccounts":    {func(c *cluster) { c.caches.remove(c.spaceWith().ServiceAccount) }, []string{"delete", "patch"}},
		"get pods":               {func(c *cluster) { c.podNodes.Clear(); c.otherPod() }, []string{"patch namespaces"}},
		"patch namespaces":       {func(c *cluster) { c.podNodes.Clear(); c.otherPod() }, nil},
		"delete rolebindings":    {deallocated, []string{"delete serviceaccounts", "delete namespaces"}},
		"delete serviceaccounts": {deallocated, []string{"delete namespaces"}},
		"delete namespaces":      {deallocated, nil},
	} {
		t.Run(call, func(t *testing.T) {
			c := newCluster(t, usedBy(pod), pod)
			c.catchUp(usedBy(pod))
			c.reconcileAndCatchUp(t)
			test.before(c)
			c.did()
			_, resource, _ := strings.Cut(call, " ")
			c.fail(call, notServed(resource))
			_, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
			did := c.did()
			if err == nil || !slices.Contains(did, call) {
				t.Errorf("got error %v after %q, want it to be retried", err, did)
			}
			for _, never := range test.never {
				if slices.ContainsFunc(did, func(did string) bool { return did != call && strings.HasPrefix(did, never) }) {
					t.Errorf("did %q", did)
				}
			}
		})
	}
}

// otherPod gives the claim another consumer.
func (c *cluster) otherPod() {
	other := podOn("other", "node-b")
	c.live(other)
	live := c.liveOne()
	live.Status.ReservedFor = append(live.Status.ReservedFor, usedBy(other).Status.ReservedFor...)
	if err := c.api.Status().Update(c.t.Context(), live); err != nil {
		c.t.Fatal(err)
	}
	c.catchUp(&resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

var revokeThenDelete = []string{"delete rolebindings", "delete serviceaccounts", "delete namespaces"}

func TestWhatIsEnded(t *testing.T) {
	reallocated := func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		return claim
	}
	unallocated := claimOf("a")
	unallocated.Status.Allocation = nil
	released := claimOf("a")
	released.DeletionTimestamp, released.Finalizers = ptr.To(metav1.Now()), []string{"example.com/mine"}
	successor := claimOf("a")
	successor.UID = "successor"
	for name, test := range map[string]struct {
		// cached and live are the claim as the cache and the API server have it.
		cached, live *resourceapi.ResourceClaim
		wrote        []string
	}{
		"nothing while both know the allocation":                                            {claimOf("a"), claimOf("a"), nil},
		"nothing when only the cache lacks the claim":                                       {nil, claimOf("a"), nil},
		"nothing when the cache has an older state":                                         {unallocated, claimOf("a"), nil},
		"nothing when the cache has an older allocation":                                    {reallocated(claimOf("a")), claimOf("a"), nil},
		"the space of a claim that has gone":                                                {nil, nil, revokeThenDelete},
		"the space of a deallocated claim":                                                  {unallocated, unallocated, revokeThenDelete},
		"the space of a deleted claim without our finalizer":                                {released, released, revokeThenDelete},
		"the space of an earlier allocation":                                                {reallocated(claimOf("a")), reallocated(claimOf("a")), revokeThenDelete},
		"the space of an earlier claim of the name":                                         {successor, successor, revokeThenDelete},
		"the space of a claim which is gone from the cache, and of which a successor lives": {nil, successor, revokeThenDelete},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			ns := c.cached(c.namespaceOf(claimOf("a")))
			c.live(ns.DeepCopy())
			if test.live != nil {
				c.live(test.live)
			}
			if err := c.endOthers(t.Context(), key, identity.Of(test.cached, driver)); err != nil {
				t.Fatal(err)
			}
			if got := c.wrote(); !slices.Equal(got, test.wrote) {
				t.Errorf("wrote %q, want %q", got, test.wrote)
			}
			said := strings.Join(c.said(), "\n")
			if ended := test.wrote != nil; strings.Contains(said, "Normal Deleted") != ended || strings.Contains(said, ns.Name) != ended {
				t.Errorf("said %q", said)
			}
		})
	}
}

var key = types.NamespacedName{Namespace: "team", Name: "claim"}

func TestTheEndIsReportedOnceThoughTheCacheIsLate(t *testing.T) {
	c := newController(t)
	c.live(c.cached(c.namespaceOf(claimOf("a"))).DeepCopy())
	for range 2 {
		if err := c.endOthers(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	if said := c.said(); len(said) != 1 {
		t.Errorf("said %q, want one event", said)
	}
}

func TestNothingIsEndedUnconfirmed(t *testing.T) {
	c := newController(t)
	c.cached(c.namespaceOf(claimOf("a")))
	cause := errors.New("no API server")
	c.api.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, cause })
	if err := c.endOthers(t.Context(), key, nil); !errors.Is(err, cause) {
		t.Errorf("got error %v, want %v", err, cause)
	}
	if got := c.wrote(); len(got) > 0 {
		t.Errorf("wrote %q", got)
	}
}

func TestWhatIsDeletedIsWhatWasLookedAt(t *testing.T) {
	c := newController(t)
	ns := c.cached(c.namespaceOf(claimOf("a")))
	var options metav1.DeleteOptions
	c.api.PrependReactor("delete", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
		options = action.(clienttesting.DeleteActionImpl).DeleteOptions
		return true, nil, nil
	})
	if _, err := c.end(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if options.Preconditions == nil || ptr.Deref(options.Preconditions.UID, "") != ns.UID {
		t.Errorf("deleted with preconditions %v, want the UID %s", options.Preconditions, ns.UID)
	}
}

func TestNoNamespaceIsDeletedBeforeItsRightsAreRevoked(t *testing.T) {
	for _, resource := range []string{"rolebindings", "serviceaccounts"} {
		t.Run(resource, func(t *testing.T) {
			c := newController(t)
			ns := c.cached(c.namespaceOf(claimOf("a")))
			cause := errors.New("no")
			c.api.PrependReactor("delete", resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, cause })
			err := c.endOthers(t.Context(), key, nil)
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), ns.Name) {
				t.Errorf("got error %v, want one that names the namespace", err)
			}
			if slices.Contains(c.wrote(), "delete namespaces") {
				t.Error("the namespace was deleted all the same")
			}
			// One on the namespace, one on the claim.
			if said := c.said(); len(said) != 2 || said[0] != said[1] || !strings.HasPrefix(said[0], "Warning DeletionFailed") {
				t.Errorf("said %q", said)
			}
		})
	}
}

func TestASpaceThatSomebodyDeletesIsRevokedAtOnce(t *testing.T) {
	c := newController(t)
	ns := c.namespaceOf(claimOf("a"))
	ns.DeletionTimestamp = ptr.To(metav1.Now())
	c.cached(ns)
	if err := c.accountsOf().Add(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}}); err != nil {
		t.Fatal(err)
	}
	if err := c.endOthers(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	if got := c.wrote(); !slices.Equal(got, revokeThenDelete[:2]) {
		t.Errorf("wrote %q, want %q: the namespace is on its way out", got, revokeThenDelete[:2])
	}
}

func TestNothingIsDoneAboutASpaceThatHasOnlyToDisappear(t *testing.T) {
	c := newController(t)
	ns := c.namespaceOf(claimOf("a"))
	ns.DeletionTimestamp = ptr.To(metav1.Now())
	c.cached(ns)
	if err := c.endOthers(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	if got := c.api.Actions(); len(got) > 0 {
		t.Errorf("the API server was asked for %v", got)
	}
}

func TestANamespaceIsTakenOnlyIfItIsTheAllocations(t *testing.T) {
	foreign := func(ns *corev1.Namespace) { ns.Labels = map[string]string{"team": "other"} }
	for name, test := range map[string]struct {
		// cached and live change the namespace that is there; nil: it is not.
		cached, live func(*corev1.Namespace)
		made         bool
		reason       string
	}{
		"made where there is none":       {nil, nil, true, ""},
		"taken when the cache has it":    {func(*corev1.Namespace) {}, func(*corev1.Namespace) {}, false, ""},
		"taken when the cache is late":   {nil, func(*corev1.Namespace) {}, false, ""},
		"refused when it is somebody's":  {nil, foreign, false, spaceapi.ReasonNameConflict},
		"refused when the cache says so": {foreign, foreign, false, spaceapi.ReasonNameConflict},
		"refused when it is another claim's": {nil, func(ns *corev1.Namespace) {
			ns.Labels[spaceapi.KeysFor(driver).ClaimUID] = "other"
		}, false, spaceapi.ReasonNameConflict},
		"refused while it is being deleted": {nil, func(ns *corev1.Namespace) {
			ns.DeletionTimestamp, ns.Finalizers = ptr.To(metav1.Now()), []string{"x/y"}
		}, false, spaceapi.ReasonNamespaceTerminating},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			claim := claimOf("a")
			if test.cached != nil {
				ns := c.namespaceOf(claim)
				test.cached(ns)
				c.cached(ns)
			}
			if test.live != nil {
				ns := c.namespaceOf(claim)
				test.live(ns)
				c.live(ns)
			}
			_, made, err := c.ensureNamespace(t.Context(), allocationOf(t, claim), c.namespaceOf(claim))
			if test.reason == "" && (err != nil || made != test.made) {
				t.Errorf("got made: %t, error %v, want made: %t", made, err, test.made)
			}
			if test.reason != "" && (err == nil || reasonOf(err) != test.reason) {
				t.Errorf("got error %v, want one of reason %s", err, test.reason)
			}
			for _, wrote := range c.wrote() {
				if wrote != "create namespaces" {
					t.Errorf("wrote %q", wrote)
				}
			}
		})
	}
}

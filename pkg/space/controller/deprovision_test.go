// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

var revokeThenDelete = []string{"delete rolebindings", "delete serviceaccounts", "delete namespaces"}

func TestDeprovisionStale_confirmsByTheAPIServer(t *testing.T) {
	reallocated := func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		return claim
	}
	unallocated := claimFor("a")
	unallocated.Status.Allocation = nil
	released := claimFor("a")
	released.DeletionTimestamp, released.Finalizers = ptr.To(metav1.Now()), []string{"example.com/mine"}
	successor := claimFor("a")
	successor.UID = "successor"
	for name, test := range map[string]struct {
		// cached and live are the claim as the cache and the API server have it.
		cached, live *resourceapi.ResourceClaim
		wrote        []string
	}{
		"nothing while both have the allocation":                              {claimFor("a"), claimFor("a"), nil},
		"nothing when only the cache lacks the claim":                         {nil, claimFor("a"), nil},
		"nothing when the cache has an older state":                           {unallocated, claimFor("a"), nil},
		"nothing when the cache has an older allocation":                      {reallocated(claimFor("a")), claimFor("a"), nil},
		"the space of a deleted claim":                                        {nil, nil, revokeThenDelete},
		"the space of a deallocated claim":                                    {unallocated, unallocated, revokeThenDelete},
		"the space of a deleted claim without our finalizer":                  {released, released, revokeThenDelete},
		"the space of an earlier allocation":                                  {reallocated(claimFor("a")), reallocated(claimFor("a")), revokeThenDelete},
		"the space of an earlier claim of the name":                           {successor, successor, revokeThenDelete},
		"the space of a claim that the cache lacks, and that has a successor": {nil, successor, revokeThenDelete},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := withSpace(t, unchanged)
			if test.live != nil {
				c.live(test.live)
			}
			if _, err := c.deprovisionStale(t.Context(), key, c.desired(test.cached), c.ofClaim()); err != nil {
				t.Fatal(err)
			}
			if got := c.wrote(); !slices.Equal(got, test.wrote) {
				t.Errorf("wrote %q, want %q", got, test.wrote)
			}
			recorded := strings.Join(c.recorded(), "\n")
			if deleted := test.wrote != nil; strings.Contains(recorded, "Normal Deprovisioned") != deleted || strings.Contains(recorded, ns.Name) != deleted {
				t.Errorf("recorded %q", recorded)
			}
		})
	}
}

func TestDeprovisionStale_reportsOnceThoughTheCacheLags(t *testing.T) {
	c, _ := withSpace(t, unchanged)
	for range 2 {
		if err := c.deprovisionAll(); err != nil {
			t.Fatal(err)
		}
	}
	if recorded := c.recorded(); len(recorded) != 1 {
		t.Errorf("recorded %q, want one event", recorded)
	}
	if wrote := c.wrote(); !slices.Equal(wrote, revokeThenDelete) {
		t.Errorf("wrote %q, want %q", wrote, revokeThenDelete)
	}
}

func TestDeprovisionStale_doesNotReportAnInterruption(t *testing.T) {
	c, _ := withSpace(t, unchanged)
	ctx, cancel := context.WithCancel(t.Context())
	c.react("delete serviceaccounts", func(client.Object) (bool, error) {
		cancel()
		return true, ctx.Err()
	})
	if _, err := c.deprovisionStale(ctx, key, nil, c.ofClaim()); err == nil {
		t.Error("it is taken for done")
	}
	if recorded := c.recorded(); len(recorded) > 0 {
		t.Errorf("recorded %q", recorded)
	}
}

func TestDeprovision_deletesNoSuccessorOfTheName(t *testing.T) {
	c, ns := withSpace(t, unchanged)
	cached := c.ofClaim()[0]
	c.gone(ns)
	ns.UID = "successor"
	c.live(ns)
	if _, err := c.deprovision(t.Context(), &cached, ""); !apierrors.IsConflict(err) {
		t.Errorf("got error %v, want a conflict", err)
	}
	if !c.read(ns) {
		t.Error("the successor was deleted")
	}
}

func TestDeprovision_revokesBeforeItDeletes(t *testing.T) {
	for _, resource := range []string{"rolebindings", "serviceaccounts"} {
		t.Run(resource, func(t *testing.T) {
			c, ns := withSpace(t, unchanged)
			cause := errors.New("no")
			c.fail("delete "+resource, cause)
			err := c.deprovisionAll()
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), ns.Name) {
				t.Errorf("got error %v, want one that names the namespace", err)
			}
			if slices.Contains(c.wrote(), "delete namespaces") {
				t.Error("the namespace was deleted nevertheless")
			}
			// One on the namespace, one on the claim.
			if recorded := c.recorded(); len(recorded) != 2 || recorded[0] != recorded[1] || !strings.HasPrefix(recorded[0], "Warning DeprovisioningFailed") {
				t.Errorf("recorded %q", recorded)
			}
		})
	}
}

func TestDeprovisionStale_ofATerminatingNamespace(t *testing.T) {
	for name, test := range map[string]struct {
		account bool
		did     []string
	}{
		"revokes what the caches have":        {true, append([]string{"get resourceclaims"}, revokeThenDelete[:2]...)},
		"waits for the deletion when revoked": {false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := withSpace(t, terminating)
			if test.account {
				c.cached(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}})
			}
			if err := c.deprovisionAll(); err != nil {
				t.Fatal(err)
			}
			if got := c.did(); !slices.Equal(got, test.did) {
				t.Errorf("did %q, want %q", got, test.did)
			}
		})
	}
}

// The annotation has whole seconds. A retention that was cut to the past was never looked at again.
func TestDeprovision_retainsNoShorterThanThePeriod(t *testing.T) {
	c, _ := withSpace(t, func(ns *corev1.Namespace) {
		ns.Annotations[spaceapi.KeysFor(driver).Config] = `{"clusterRoles":["edit"],"network":{"mode":"Open"},"retention":"1s"}`
	})
	c.now.Step(990 * time.Millisecond)
	if after, err := c.deprovisionStale(t.Context(), key, nil, c.ofClaim()); err != nil || after < time.Second || after >= 2*time.Second {
		t.Errorf("reconciles again after %s, error %v, want 1s to 2s", after, err)
	}
}

func TestDeprovision_retainsTheNamespaceWithoutCredentials(t *testing.T) {
	c, ns := withSpace(t, func(ns *corev1.Namespace) {
		ns.Annotations[spaceapi.KeysFor(driver).Config] = `{"clusterRoles":["edit"],"network":{"mode":"Open"},"retention":"1h"}`
	})
	after, err := c.deprovisionStale(t.Context(), key, nil, c.ofClaim())
	if err != nil || after != time.Hour {
		t.Errorf("looks again after %s, error %v", after, err)
	}
	if got, want := c.wrote(), []string{"delete rolebindings", "delete serviceaccounts", "patch namespaces"}; !slices.Equal(got, want) {
		t.Fatalf("wrote %q, want %q", got, want)
	}
	// One on the namespace, one on the claim.
	if recorded := c.recorded(); len(recorded) != 2 || recorded[0] != recorded[1] || !strings.HasPrefix(recorded[0], "Normal NamespaceRetained") || !strings.Contains(recorded[0], "2026-03-01T13:00:00Z") {
		t.Errorf("recorded %q", recorded)
	}
	c.catchUp(ns)
	c.now.Step(time.Hour - time.Second)
	// As after a restart.
	c.written.Remove(ns.UID)
	if after, err := c.deprovisionStale(t.Context(), key, nil, c.ofClaim()); err != nil || after != time.Second || len(c.wrote()) > 0 {
		t.Errorf("too soon: looks again after %s, error %v", after, err)
	}
	c.now.Step(time.Second)
	if err := c.deprovisionAll(); err != nil || !slices.Contains(c.wrote(), "delete namespaces") {
		t.Errorf("in time: error %v", err)
	}
}

func TestRevokeTenantRoleBindings_repeatsUntilNoneIsInEffect(t *testing.T) {
	c := newCluster(t)
	given := 0
	c.react("list rolebindings", func(client.Object) (bool, error) {
		given++
		return given <= 3, nil
	})
	if err := c.revokeTenantRoleBindings(t.Context(), "ns"); err != nil {
		t.Fatal(err)
	}
	if got := c.wrote(); len(got) != 3 {
		t.Errorf("wrote %q", got)
	}
	given = -1000
	if err := c.revokeTenantRoleBindings(t.Context(), "ns"); err == nil {
		t.Error("RoleBindings that are created without end: no error")
	}
}

func TestDeprovision_revokesAllRoleBindings(t *testing.T) {
	for record, want := range map[string]int{
		`{"clusterRoles":["edit","view","admin"],"network":{"mode":"Open"}}`: 3,
		"damaged": spaceapi.MaxClusterRoles,
	} {
		c, ns := withSpace(t, func(ns *corev1.Namespace) { ns.Annotations[spaceapi.KeysFor(driver).Config] = record })
		if _, err := c.deprovision(t.Context(), ns, ""); err != nil {
			t.Fatal(err)
		}
		deleted := 0
		for _, call := range c.wrote() {
			if call == "delete rolebindings" {
				deleted++
			}
		}
		if deleted != want {
			t.Errorf("%s: deleted %d RoleBindings, want %d: %q", record, deleted, want, c.wrote())
		}
	}
}

func TestDeprovision_revokesClusterWideRights(t *testing.T) {
	forbidden := apierrors.NewForbidden(rbacv1.Resource("clusterrolebindings"), "x", errors.New("no"))
	withRights := append([]string{"delete clusterrolebindings"}, revokeThenDelete...)
	for name, test := range map[string]struct {
		owner   types.UID
		roles   []string
		failure error
		wrote   []string
	}{
		"before others":                   {"namespace-uid", []string{"reader"}, nil, withRights},
		"not those of another owner":      {"another-uid", []string{"reader"}, nil, revokeThenDelete},
		"and keeps the space otherwise":   {"namespace-uid", []string{"reader"}, forbidden, withRights[:1]},
		"or leaves them to the namespace": {"namespace-uid", nil, forbidden, withRights}, // the role is not configured any more
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := clusterWide(t)
			c.clusterRoleBinding(test.owner)
			c.config.Defaults.ClusterWideRoles = test.roles
			c.react("delete clusterrolebindings", func(client.Object) (bool, error) { return test.failure != nil, test.failure })
			_, err := c.deprovision(t.Context(), ns, "")
			if got := c.wrote(); !slices.Equal(got, test.wrote) || (err == nil) != slices.Contains(test.wrote, "delete namespaces") {
				t.Errorf("wrote %q, error %v, want %q", got, err, test.wrote)
			}
		})
	}
}

func TestReportStuckTerminating_retriesTheDeletionOnceInEachTimeout(t *testing.T) {
	c, ns := withSpace(t, terminating)
	timeout := c.config.StuckTerminatingAfter
	if !c.read(ns) {
		t.Fatal("the namespace does not exist")
	}
	c.now.SetTime(ns.DeletionTimestamp.Time)
	report := func(want time.Duration, wrote ...string) {
		t.Helper()
		c.catchUp(ns)
		if after := c.reportStuckTerminating(t.Context(), &c.ofClaim()[0]); after != want {
			t.Errorf("reports again after %s, want %s", after, want)
		}
		if got := c.wrote(); !slices.Equal(got, wrote) {
			t.Errorf("wrote %q, want %q", got, wrote)
		}
		if recorded := c.recorded(); (len(recorded) > 0) != (len(wrote) > 0) {
			t.Errorf("recorded %q", recorded)
		}
	}
	report(timeout)
	c.now.Step(timeout)
	report(timeout, "patch namespaces")
	report(timeout)
	c.now.Step(timeout - time.Second)
	report(time.Second)
	c.now.Step(time.Second)
	report(timeout, "patch namespaces")
}

// What annotates a namespace that somebody else deleted must not seem to have deprovisioned it.
func TestReportStuckTerminating_leavesTheCredentialsToBeRevoked(t *testing.T) {
	c, ns := withSpace(t, terminating)
	c.cached(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}})
	c.now.SetTime(time.Now().Add(time.Hour))
	if err := c.deprovisionAll(); err != nil {
		t.Fatal(err)
	}
	if got, want := c.wrote(), append([]string{"patch namespaces"}, revokeThenDelete[:2]...); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

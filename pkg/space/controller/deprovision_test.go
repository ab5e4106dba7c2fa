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

func TestDeprovisionStale_confirmsWithTheAPIServer(t *testing.T) {
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
		// cached and live are the claim in the cache and in the API server.
		cached, live *resourceapi.ResourceClaim
		wrote        []string
	}{
		"allocated":                            {claimFor("a"), claimFor("a"), nil},
		"not in the cache":                     {nil, claimFor("a"), nil},
		"deallocated in the cache only":        {unallocated, claimFor("a"), nil},
		"another allocation in the cache only": {reallocated(claimFor("a")), claimFor("a"), nil},
		"deleted":                              {nil, nil, revokeThenDelete},
		"deallocated":                          {unallocated, unallocated, revokeThenDelete},
		"being deleted without Kubernetes' finalizer": {released, released, revokeThenDelete},
		"allocated again":                 {reallocated(claimFor("a")), reallocated(claimFor("a")), revokeThenDelete},
		"recreated":                       {successor, successor, revokeThenDelete},
		"not in the cache, and recreated": {nil, successor, revokeThenDelete},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := newClusterWithSpace(t, unchanged)
			if test.live != nil {
				c.createInAPI(test.live)
			}
			if _, err := c.deprovisionStale(t.Context(), key, c.desired(test.cached), c.cachedNamespaces()); err != nil {
				t.Fatal(err)
			}
			if got := c.writes(); !slices.Equal(got, test.wrote) {
				t.Errorf("wrote %q, want %q", got, test.wrote)
			}
			recorded := strings.Join(c.recordedEvents(), "\n")
			if deleted := test.wrote != nil; strings.Contains(recorded, "Normal Deprovisioned") != deleted || strings.Contains(recorded, ns.Name) != deleted {
				t.Errorf("recorded %q", recorded)
			}
		})
	}
}

func TestDeprovisionStale_reportsOnceWhileTheCacheLags(t *testing.T) {
	c, _ := newClusterWithSpace(t, unchanged)
	for range 2 {
		if err := c.deprovisionAll(); err != nil {
			t.Fatal(err)
		}
	}
	if recorded := c.recordedEvents(); len(recorded) != 1 {
		t.Errorf("recorded %q, want one event", recorded)
	}
	if wrote := c.writes(); !slices.Equal(wrote, revokeThenDelete) {
		t.Errorf("wrote %q, want %q", wrote, revokeThenDelete)
	}
}

func TestDeprovisionStale_doesNotReportAnInterruption(t *testing.T) {
	c, _ := newClusterWithSpace(t, unchanged)
	ctx, cancel := context.WithCancel(t.Context())
	c.react("delete serviceaccounts", func(client.Object) (bool, error) {
		cancel()
		return true, ctx.Err()
	})
	if _, err := c.deprovisionStale(ctx, key, nil, c.cachedNamespaces()); err == nil {
		t.Error("got no error")
	}
	if recorded := c.recordedEvents(); len(recorded) > 0 {
		t.Errorf("recorded %q", recorded)
	}
}

func TestDeprovision_doesNotDeleteARecreatedNamespace(t *testing.T) {
	c, ns := newClusterWithSpace(t, unchanged)
	cached := c.cachedNamespaces()[0]
	c.deleteInAPI(ns)
	ns.UID = "successor"
	c.createInAPI(ns)
	if _, err := c.deprovision(t.Context(), &cached, ""); !apierrors.IsConflict(err) {
		t.Errorf("got error %v, want a conflict", err)
	}
	if !c.read(ns) {
		t.Error("the recreated namespace was deleted")
	}
}

func TestDeprovision_revokesBeforeDeleting(t *testing.T) {
	for _, resource := range []string{"rolebindings", "serviceaccounts"} {
		t.Run(resource, func(t *testing.T) {
			c, ns := newClusterWithSpace(t, unchanged)
			cause := errors.New("no")
			c.fail("delete "+resource, cause)
			err := c.deprovisionAll()
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), ns.Name) {
				t.Errorf("got error %v, want one that names the namespace", err)
			}
			if slices.Contains(c.writes(), "delete namespaces") {
				t.Error("the namespace was deleted")
			}
			// One on the namespace, one on the claim.
			if recorded := c.recordedEvents(); len(recorded) != 2 || recorded[0] != recorded[1] || !strings.HasPrefix(recorded[0], "Warning DeprovisioningFailed") {
				t.Errorf("recorded %q", recorded)
			}
		})
	}
}

func TestDeprovisionStale_revokesInATerminatingNamespace(t *testing.T) {
	for name, test := range map[string]struct {
		account  bool
		requests []string
	}{
		"revokes the ServiceAccount in the cache": {true, append([]string{"get resourceclaims"}, revokeThenDelete[:2]...)},
		"waits for the deletion after that":       {false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := newClusterWithSpace(t, terminating)
			if test.account {
				c.putInCache(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}})
			}
			if err := c.deprovisionAll(); err != nil {
				t.Fatal(err)
			}
			if got := c.requests(); !slices.Equal(got, test.requests) {
				t.Errorf("got requests %q, want %q", got, test.requests)
			}
		})
	}
}

// The annotation has whole seconds.
func TestDeprovision_roundsTheRetentionUp(t *testing.T) {
	c, _ := newClusterWithSpace(t, func(ns *corev1.Namespace) {
		ns.Annotations[spaceapi.KeysFor(driver).Config] = `{"clusterRoles":["edit"],"network":{"mode":"Open"},"retention":"1s"}`
	})
	c.now.Step(990 * time.Millisecond)
	if after, err := c.deprovisionStale(t.Context(), key, nil, c.cachedNamespaces()); err != nil || after < time.Second || after >= 2*time.Second {
		t.Errorf("reconciles again after %s, error %v, want 1s to 2s", after, err)
	}
}

func TestDeprovision_retainsTheNamespace(t *testing.T) {
	c, ns := newClusterWithSpace(t, func(ns *corev1.Namespace) {
		ns.Annotations[spaceapi.KeysFor(driver).Config] = `{"clusterRoles":["edit"],"network":{"mode":"Open"},"retention":"1h"}`
	})
	after, err := c.deprovisionStale(t.Context(), key, nil, c.cachedNamespaces())
	if err != nil || after != time.Hour {
		t.Errorf("reconciles again after %s, error %v", after, err)
	}
	if got, want := c.writes(), []string{"delete rolebindings", "delete serviceaccounts", "patch namespaces"}; !slices.Equal(got, want) {
		t.Fatalf("wrote %q, want %q", got, want)
	}
	// One on the namespace, one on the claim.
	if recorded := c.recordedEvents(); len(recorded) != 2 || recorded[0] != recorded[1] || !strings.HasPrefix(recorded[0], "Normal NamespaceRetained") || !strings.Contains(recorded[0], "2026-03-01T13:00:00Z") {
		t.Errorf("recorded %q", recorded)
	}
	c.syncCache(ns)
	c.now.Step(time.Hour - time.Second)
	// The controller restarts.
	c.writtenNamespaces.Remove(ns.UID)
	if after, err := c.deprovisionStale(t.Context(), key, nil, c.cachedNamespaces()); err != nil || after != time.Second || len(c.writes()) > 0 {
		t.Errorf("before the end: reconciles again after %s, error %v", after, err)
	}
	c.now.Step(time.Second)
	if err := c.deprovisionAll(); err != nil || !slices.Contains(c.writes(), "delete namespaces") {
		t.Errorf("at the end: error %v", err)
	}
}

func TestRevokeTenantRoleBindings_repeatsUntilNoneIsInEffect(t *testing.T) {
	c := newCluster(t)
	lists := 0
	c.react("list rolebindings", func(client.Object) (bool, error) {
		lists++
		return lists <= 3, nil
	})
	if err := c.revokeTenantRoleBindings(t.Context(), "ns", nil); err != nil {
		t.Fatal(err)
	}
	if got := c.writes(); len(got) != 3 {
		t.Errorf("wrote %q", got)
	}
	lists = -1000
	if err := c.revokeTenantRoleBindings(t.Context(), "ns", nil); err == nil {
		t.Error("RoleBindings that keep being recreated: got no error")
	}
}

func TestDeprovision_recordsRetentionBeforeRevokingTenantRoleBindings(t *testing.T) {
	for name, failure := range map[string]error{"recorded": nil, "not recorded": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWith(t, func(config *Config) { config.Defaults.AllowedClusterRoles = []string{"binder"} })
			c.putInCache(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "binder"}, Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"create"}},
			}})
			ns := c.namespaceFor(claimFor("a"))
			c.createInAPI(ns)
			c.syncCache(ns)
			recorded := ""
			c.react("list rolebindings", func(client.Object) (bool, error) {
				c.read(ns)
				recorded = ns.Annotations[spaceapi.KeysFor(driver).RetainedUntil]
				return false, nil
			})
			if failure != nil {
				c.fail("patch namespaces", failure)
			}
			if retained, err := c.deprovision(t.Context(), &c.cachedNamespaces()[0], ""); retained != 0 || err != nil {
				t.Errorf("retained for %s, error %v", retained, err)
			}
			if (recorded == "") != (failure != nil) {
				t.Errorf("the end of the retention is %q", recorded)
			}
			if got, want := c.writes(), []string{"delete rolebindings", "patch namespaces", "delete serviceaccounts", "delete namespaces"}; !slices.Equal(got, want) {
				t.Errorf("wrote %q, want %q", got, want)
			}
		})
	}
}

func TestDeprovision_revokesAllRoleBindings(t *testing.T) {
	for record, want := range map[string]int{
		`{"clusterRoles":["edit","view","admin"],"network":{"mode":"Open"}}`: 3,
		"damaged": spaceapi.MaxClusterRoles + spaceapi.MaxAccess,
	} {
		c, ns := newClusterWithSpace(t, func(ns *corev1.Namespace) { ns.Annotations[spaceapi.KeysFor(driver).Config] = record })
		if _, err := c.deprovision(t.Context(), ns, ""); err != nil {
			t.Fatal(err)
		}
		deleted := 0
		for _, call := range c.writes() {
			if call == "delete rolebindings" {
				deleted++
			}
		}
		if deleted != want {
			t.Errorf("%s: deleted %d RoleBindings, want %d: %q", record, deleted, want, c.writes())
		}
	}
}

func TestDeprovision_revokesClusterWideRoles(t *testing.T) {
	forbidden := apierrors.NewForbidden(rbacv1.Resource("clusterrolebindings"), "x", errors.New("no"))
	withRoles := append([]string{"delete clusterrolebindings"}, revokeThenDelete...)
	for name, test := range map[string]struct {
		owner   types.UID
		roles   []string
		failure error
		wrote   []string
	}{
		"first":                                 {"namespace-uid", []string{"reader"}, nil, withRoles},
		"not if it has another owner":           {"another-uid", []string{"reader"}, nil, revokeThenDelete},
		"or fails if that fails":                {"namespace-uid", []string{"reader"}, forbidden, withRoles[:1]},
		"or leaves it to the garbage collector": {"namespace-uid", nil, forbidden, withRoles}, // the role is no longer configured
	} {
		t.Run(name, func(t *testing.T) {
			c, ns := newClusterWithClusterWideRole(t)
			c.clusterRoleBinding(test.owner)
			c.config.Defaults.ClusterWideRoles = test.roles
			c.react("delete clusterrolebindings", func(client.Object) (bool, error) { return test.failure != nil, test.failure })
			_, err := c.deprovision(t.Context(), ns, "")
			if got := c.writes(); !slices.Equal(got, test.wrote) || (err == nil) != slices.Contains(test.wrote, "delete namespaces") {
				t.Errorf("wrote %q, error %v, want %q", got, err, test.wrote)
			}
		})
	}
}

func TestReportStuckTerminating_retriesTheDeletionAfterEachTimeout(t *testing.T) {
	c, ns := newClusterWithSpace(t, terminating)
	timeout := c.config.StuckTerminatingAfter
	if !c.read(ns) {
		t.Fatal("the namespace does not exist")
	}
	c.now.SetTime(ns.DeletionTimestamp.Time)
	report := func(want time.Duration, wrote ...string) {
		t.Helper()
		c.syncCache(ns)
		if after := c.reportStuckTerminating(t.Context(), &c.cachedNamespaces()[0]); after != want {
			t.Errorf("reports again after %s, want %s", after, want)
		}
		if got := c.writes(); !slices.Equal(got, wrote) {
			t.Errorf("wrote %q, want %q", got, wrote)
		}
		if recorded := c.recordedEvents(); (len(recorded) > 0) != (len(wrote) > 0) {
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

// The annotation on a namespace that another client deleted must not count as its deprovisioning.
func TestReportStuckTerminating_doesNotPreventRevocation(t *testing.T) {
	c, ns := newClusterWithSpace(t, terminating)
	c.putInCache(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: spaceapi.ServiceAccountName}})
	c.now.SetTime(time.Now().Add(time.Hour))
	if err := c.deprovisionAll(); err != nil {
		t.Fatal(err)
	}
	if got, want := c.writes(), append([]string{"patch namespaces"}, revokeThenDelete[:2]...); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestDeprovisionStale_reportsTheCause(t *testing.T) {
	for words, change := range map[string]func(*resourceapi.ResourceClaim) *resourceapi.ResourceClaim{
		"Claim deleted: ": func(*resourceapi.ResourceClaim) *resourceapi.ResourceClaim { return nil },
		"Claim deleted: credentials": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.DeletionTimestamp, claim.Finalizers = ptr.To(metav1.Now()), []string{"example.com/mine"}
			return claim
		},
		"another one of the same name": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.UID = "another"
			return claim
		},
		"no pod uses it any more (another pod": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.Status.Allocation = nil
			return claim
		},
		"allocated again": func(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
			claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
			return claim
		},
	} {
		t.Run(words, func(t *testing.T) {
			c, _ := newClusterWithSpace(t, unchanged)
			claim := change(claimFor("a"))
			if claim != nil {
				c.createInAPI(claim)
			}
			if _, err := c.deprovisionStale(t.Context(), key, c.desired(claim), c.cachedNamespaces()); err != nil {
				t.Fatal(err)
			}
			if recorded := c.recordedEvents(); len(recorded) != 1 || !strings.Contains(recorded[0], words) {
				t.Errorf("recorded %q", recorded)
			}
		})
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

// readyCluster returns a cluster with a space in use, and its ServiceAccount.
func readyCluster(t *testing.T, claim *resourceapi.ResourceClaim) (*cluster, *corev1.ServiceAccount) {
	t.Helper()
	c := newCluster(t, claim)
	c.syncCache(claim)
	c.reconcileAndSyncCache(t)
	c.requests()
	return c, c.spaceFor(claim).ServiceAccount
}

// handleEvent handles the event of an object, and updates the cache.
func (c *cluster) handleEvent(t *testing.T, obj client.Object) {
	t.Helper()
	c.syncCache(obj)
	for _, request := range c.requestsForObject(t.Context(), obj) {
		_, _ = c.Reconcile(t.Context(), request)
	}
	c.syncCache(obj, claimKey())
}

// attacks is the number of repetitions of an attack.
const attacks = 100

// countRequests repeats an attack, and returns the number of requests of the controller.
func (c *cluster) countRequests(t *testing.T, account *corev1.ServiceAccount, attack func(n int, account *corev1.ServiceAccount)) int {
	t.Helper()
	count := 0
	for n := range attacks {
		live := account.DeepCopy()
		if c.read(live) {
			attack(n, live)
		}
		c.requests()
		c.handleEvent(t, account.DeepCopy())
		c.now.Step(250 * time.Millisecond)
		// The reconcile that is scheduled for the end of the delay.
		if !c.waitsForRestore(&c.cachedNamespaces()[0]) {
			if _, err := c.reconcile(); err == nil {
				c.syncCache(account.DeepCopy(), claimKey())
			}
		}
		count += len(c.requests())
	}
	return count
}

func TestRestores_backOff(t *testing.T) {
	for name, attack := range map[string]func(c *cluster, n int, account *corev1.ServiceAccount){
		"deletes the ServiceAccount": func(c *cluster, _ int, account *corev1.ServiceAccount) {
			c.deleteInAPI(account)
		},
		"recreates the ServiceAccount": func(c *cluster, n int, account *corev1.ServiceAccount) {
			c.deleteInAPI(account)
			account.UID = types.UID("tenant-" + strconv.Itoa(n))
			c.createInAPI(account)
		},
		"keeps the ServiceAccount for some time": func(c *cluster, n int, account *corev1.ServiceAccount) {
			switch {
			case account.DeletionTimestamp != nil && n%10 == 0:
				account.Finalizers = nil
				_ = c.api.Update(c.t.Context(), account)
			case account.DeletionTimestamp == nil:
				account.Finalizers = []string{"example.com/mine"}
				_ = c.api.Update(c.t.Context(), account)
				_ = c.api.Delete(c.t.Context(), account)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, account := readyCluster(t, claimFor("a"))
			if count := c.countRequests(t, account, func(n int, account *corev1.ServiceAccount) { attack(c, n, account) }); count > attacks {
				t.Errorf("the controller made %d requests for %d attacks", count, attacks)
			}
		})
	}
}

func TestRestores_theFirstIsNotDelayed(t *testing.T) {
	c, account := readyCluster(t, claimFor("a"))
	restored := func() bool {
		t.Helper()
		c.deleteInAPI(account.DeepCopy())
		c.handleEvent(t, account.DeepCopy())
		return slices.Contains(c.requests(), "create serviceaccounts")
	}
	for range 2 {
		if !restored() {
			t.Error("the first restore was delayed")
		}
		for restored() {
			t.Error("the second restore was not delayed")
		}
		result, err := c.reconcile()
		if err != nil || result.RequeueAfter <= 0 || len(c.requests()) > 0 {
			t.Errorf("during the delay: got %v, error %v", result, err)
		}
		c.now.Step(result.RequeueAfter)
		c.handleEvent(t, account.DeepCopy())
		if !slices.Contains(c.requests(), "create serviceaccounts") {
			t.Error("no restore after the delay")
		}
		c.now.Step(time.Hour) // without a restore
		c.resync(t.Context())
	}
}

func TestRestores_doNotDelayRevocation(t *testing.T) {
	for name, end := range map[string]func(c *cluster, claim *resourceapi.ResourceClaim){
		"deallocated": func(c *cluster, _ *resourceapi.ResourceClaim) { c.updateClaim(deallocate) },
		"deleted": func(c *cluster, claim *resourceapi.ResourceClaim) {
			claim.Finalizers = nil
			_ = c.api.Update(c.t.Context(), claim)
			_ = c.api.Delete(c.t.Context(), claim)
		},
		"expired": func(c *cluster, _ *resourceapi.ResourceClaim) { c.now.Step(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			claim := withClassConfig(claimFor("a"), `"maxLifetime":"1h"`)
			c := newCluster(t)
			claim.Status.Allocation.AllocationTimestamp = ptr.To(metav1.NewTime(c.now.Now().Add(-time.Hour + time.Second)))
			c.createInAPI(claim)
			c.syncCache(claim)
			c.mustReconcile()
			space := c.spaceFor(claim)
			c.syncCache(claim.DeepCopy(), space.Namespace, space.ServiceAccount, space.RoleBindings[0])
			c.delayRestores(claim)
			ns := c.cachedNamespaces()[0]
			if !c.waitsForRestore(&ns) {
				t.Fatal("the restore is not delayed")
			}
			end(c, c.currentClaim())
			c.requests()
			c.syncCache(claimKey())
			c.mustReconcile()
			wrote := c.writes()
			for _, want := range revokeThenDelete {
				if !slices.Contains(wrote, want) {
					t.Errorf("wrote %q, want %q", wrote, revokeThenDelete)
				}
			}
			if name == "expired" && !isExpired(claimstatus.Conditions(c.currentClaim(), driver, allocationOf(t, claim).Results[0])) {
				t.Error("the claim's condition does not have the reason Expired")
			}
			if c.waitsForRestore(&ns) {
				t.Error("events of objects in the deprovisioned namespace are ignored")
			}
		})
	}
}

func TestRestores_doNotDelayNodesAndAllocations(t *testing.T) {
	claim := claimUsedBy(podOn("a", ""))
	c, _ := readyCluster(t, claim)
	c.delayRestores(claim)
	b := podOn("b", "node-b")
	c.createInAPI(b)
	c.updateClaim(func(claim *resourceapi.ResourceClaim) { claim.Status.ReservedFor = claimUsedBy(b).Status.ReservedFor })
	c.mustReconcile()
	if wrote := c.writes(); !slices.Equal(wrote, []string{"patch namespaces"}) {
		t.Errorf("for a pod on another node: wrote %q", wrote)
	}

	c.updateClaim(func(claim *resourceapi.ResourceClaim) {
		claim.Status.Devices = nil
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("next"))
	})
	c.mustReconcile()
	if wrote := c.writes(); !slices.Contains(wrote, "create namespaces") || !slices.Contains(wrote, "create serviceaccounts") {
		t.Errorf("for the next allocation: wrote %q", wrote)
	}
	if next := c.currentClaim(); !isReady(next, driver, allocationOf(t, next)) {
		t.Error("the next allocation is not ready")
	}
}

func TestRestores_doNotDelayAMissingNamespace(t *testing.T) {
	claim := claimFor("a")
	c, _ := readyCluster(t, claim)
	ns := c.cachedNamespaces()[0]
	c.delayRestores(claim)
	c.deleteInAPI(ns.DeepCopy())
	c.caches.remove(&ns)
	for range 2 { // The first one updates the claim's status.
		_, _ = c.reconcile()
		c.syncCache(claimKey())
	}
	if !slices.Contains(c.requests(), "create namespaces") || !isReady(c.currentClaim(), driver, allocationOf(t, claim)) {
		t.Error("the space was not recreated")
	}
}

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
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

// readyCluster is a cluster with a space in use, and its ServiceAccount.
func readyCluster(t *testing.T, claim *resourceapi.ResourceClaim) (*cluster, *corev1.ServiceAccount) {
	t.Helper()
	c := newCluster(t, claim)
	c.catchUp(claim)
	c.reconcileAndCatchUp(t)
	c.did()
	return c, c.spaceFor(claim).ServiceAccount
}

// reactTo reconciles the claim if the event of an object leads to that, and lets the caches catch up.
func (c *cluster) reactTo(t *testing.T, obj client.Object) {
	t.Helper()
	c.catchUp(obj)
	for _, request := range c.claimOfObject(t.Context(), obj) {
		_, _ = c.Reconcile(t.Context(), request)
	}
	c.catchUp(obj, &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
}

// attacks is how often a tenant attacks.
const attacks = 100

// loop repeats an attack, and returns how many requests the controller made.
func (c *cluster) loop(t *testing.T, account *corev1.ServiceAccount, attack func(n int, account *corev1.ServiceAccount)) int {
	t.Helper()
	made := 0
	for n := range attacks {
		live := account.DeepCopy()
		if c.read(live) {
			attack(n, live)
		}
		c.did()
		c.reactTo(t, account.DeepCopy())
		c.now.Step(250 * time.Millisecond)
		// What is scheduled is done at the latest at the end of the interval.
		if !c.waitsForRestore(&c.ofClaim()[0]) {
			if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err == nil {
				c.catchUp(account.DeepCopy(), &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
			}
		}
		made += len(c.did())
	}
	return made
}

func TestRestores_ofATenantThatGoesOnCostLittle(t *testing.T) {
	for name, attack := range map[string]func(c *cluster, n int, account *corev1.ServiceAccount){
		"deletes the ServiceAccount": func(c *cluster, _ int, account *corev1.ServiceAccount) {
			c.gone(account)
		},
		"recreates the ServiceAccount": func(c *cluster, n int, account *corev1.ServiceAccount) {
			c.gone(account)
			account.UID = types.UID("tenant-" + strconv.Itoa(n))
			c.live(account)
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
			if made := c.loop(t, account, func(n int, account *corev1.ServiceAccount) { attack(c, n, account) }); made > attacks {
				t.Errorf("the controller made %d requests for %d attacks", made, attacks)
			}
		})
	}
}

func TestRestores_theFirstWaitsForNothing(t *testing.T) {
	c, account := readyCluster(t, claimFor("a"))
	restored := func() bool {
		t.Helper()
		c.gone(account.DeepCopy())
		c.reactTo(t, account.DeepCopy())
		return slices.Contains(c.did(), "create serviceaccounts")
	}
	for range 2 {
		if !restored() {
			t.Error("the first restore waited")
		}
		for restored() {
			t.Error("the second restore did not wait")
		}
		result, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		if err != nil || result.RequeueAfter <= 0 || len(c.did()) > 0 {
			t.Errorf("while it waits, the result is %v, error %v", result, err)
		}
		c.now.Step(result.RequeueAfter)
		c.reactTo(t, account.DeepCopy())
		if !slices.Contains(c.did(), "create serviceaccounts") {
			t.Error("no restore after the wait")
		}
		c.now.Step(time.Hour) // of quiet
		c.resync(t.Context())
	}
}

func TestRestores_doNotDelayRevocation(t *testing.T) {
	for name, end := range map[string]func(c *cluster, claim *resourceapi.ResourceClaim){
		"deallocated": func(c *cluster, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation, claim.Status.ReservedFor, claim.Status.Devices = nil, nil, nil
			_ = c.api.Status().Update(c.t.Context(), claim)
		},
		"deleted": func(c *cluster, claim *resourceapi.ResourceClaim) {
			claim.Finalizers = nil
			_ = c.api.Update(c.t.Context(), claim)
			_ = c.api.Delete(c.t.Context(), claim)
		},
		"expired": func(c *cluster, _ *resourceapi.ResourceClaim) { c.now.Step(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			claim := ofClass(claimFor("a"), `"maxLifetime":"1h"`)
			c := newCluster(t)
			claim.Status.Allocation.AllocationTimestamp = ptr.To(metav1.NewTime(c.now.Now().Add(-time.Hour + time.Second)))
			c.live(claim)
			c.catchUp(claim)
			if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			space := c.spaceFor(claim)
			c.catchUp(claim.DeepCopy(), space.Namespace, space.ServiceAccount, space.RoleBindings[0])
			// A tenant that goes on had many restores.
			for range 10 {
				c.restores.Next(allocationOf(t, claim).ID, c.now.Now())
			}
			ns := c.ofClaim()[0]
			if !c.waitsForRestore(&ns) {
				t.Fatal("the space does not wait for a restore")
			}
			end(c, c.liveOne())
			c.did()
			c.catchUp(&resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
			if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			wrote := c.wrote()
			for _, want := range revokeThenDelete {
				if !slices.Contains(wrote, want) {
					t.Errorf("wrote %q, want %q", wrote, revokeThenDelete)
				}
			}
			if name == "expired" && !isExpired(claimstatus.Conditions(c.liveOne(), driver, allocationOf(t, claim).Results[0])) {
				t.Error("the claim does not say that its space expired")
			}
			if c.waitsForRestore(&ns) {
				t.Error("events of objects in the namespace are ignored after its end")
			}
		})
	}
}

func TestRestores_doNotDelayOthers(t *testing.T) {
	claim := usedBy(podOn("a", ""))
	c, _ := readyCluster(t, claim)
	for range 10 {
		c.restores.Next(allocationOf(t, claim).ID, c.now.Now())
	}
	reconcileNow := func() []string {
		t.Helper()
		c.catchUp(&resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
		if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
			t.Fatal(err)
		}
		return c.wrote()
	}

	b := podOn("b", "node-b")
	c.live(b)
	live := c.liveOne()
	live.Status.ReservedFor = usedBy(b).Status.ReservedFor
	if err := c.api.Status().Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	c.did()
	if wrote := reconcileNow(); !slices.Equal(wrote, []string{"patch namespaces"}) {
		t.Errorf("for a pod on another node, it wrote %q", wrote)
	}

	live = c.liveOne()
	live.Status.Devices = nil
	live.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("next"))
	if err := c.api.Status().Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	c.did()
	if wrote := reconcileNow(); !slices.Contains(wrote, "create namespaces") || !slices.Contains(wrote, "create serviceaccounts") {
		t.Errorf("for the next allocation, it wrote %q", wrote)
	}
	if next := c.liveOne(); !isReady(next, driver, allocationOf(t, next)) {
		t.Error("the next allocation is not ready")
	}
}

func TestRestores_doNotDelayAMissingNamespace(t *testing.T) {
	claim := claimFor("a")
	c, _ := readyCluster(t, claim)
	ns := c.ofClaim()[0]
	for range 10 {
		c.restores.Next(allocationOf(t, claim).ID, c.now.Now())
	}
	c.gone(ns.DeepCopy())
	c.caches.remove(&ns)
	for range 2 { // First it says so in the claim's status.
		_, _ = c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		c.catchUp(&resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
	}
	if !slices.Contains(c.did(), "create namespaces") || !isReady(c.liveOne(), driver, allocationOf(t, claim)) {
		t.Error("the space was not recreated")
	}
}

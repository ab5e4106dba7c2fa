// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

func TestClaimChanged_ignoresOwnFailureReports(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	before := c.currentClaim()
	for _, cause := range []string{"forbidden", "quota exceeded"} {
		if _, err := c.reportNotReady(t.Context(), c.desired(before), errors.New(cause)); err != nil {
			t.Fatal(err)
		}
		after := c.currentClaim()
		if len(after.Status.Devices) != 1 || after.Status.Devices[0].Conditions[0].Message != cause {
			t.Fatalf("the report was not written: %+v", after.Status.Devices)
		}
		if c.claimChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}) {
			t.Errorf("the report of %q is selected", cause)
		}
		before = after
	}
}

func TestClaimChanged_selectsAllocationsAndConsumers(t *testing.T) {
	c := newCluster(t)
	changed := func(before, after client.Object) bool {
		return c.claimChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after})
	}
	claim := claimFor("a")
	deallocated := claim.DeepCopy()
	deallocated.Status.Allocation = nil
	if !changed(claim, deallocated) || !changed(deallocated, claim) {
		t.Error("a claim that was deallocated or allocated is ignored")
	}
	before, after := claimUsedBy(podOn("a", "")), claimUsedBy(podOn("a", ""), podOn("b", ""))
	if !changed(before, after) || !changed(after, before) {
		t.Error("another consumer is ignored")
	}
	if changed(before, before.DeepCopy()) || changed(deallocated, deallocated.DeepCopy()) {
		t.Error("a claim that did not change is selected")
	}
}

func TestNamespaceChanged_ignoresOwnWrites(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t)
	c.putInCache(claim)
	current := c.namespaceFor(claim)
	deleted := current.DeepCopy()
	deleted.DeletionTimestamp = ptr.To(metav1.Now())
	stale := current.DeepCopy()
	stale.Labels[c.keys.AllocationID] = "earlier"
	retained := current.DeepCopy()
	retained.Annotations[c.keys.RetainedUntil] = "2026-03-01T13:00:00Z"
	retried := deleted.DeepCopy()
	retried.Annotations[c.keys.DeletionRetriedAt] = "2026-03-01T13:00:00Z"
	moved := current.DeepCopy()
	moved.Annotations[c.keys.ClaimName] = "another"
	changed := c.namespaceChanged()
	for what, test := range map[string]struct{ got, want bool }{
		"the controller's own write":           {changed.Create(event.CreateEvent{Object: current}), false},
		"a stale namespace":                    {changed.Create(event.CreateEvent{Object: stale}), true},
		"the same namespace":                   {changed.Update(event.UpdateEvent{ObjectOld: current, ObjectNew: current.DeepCopy()}), false},
		"a deleted namespace":                  {changed.Update(event.UpdateEvent{ObjectOld: current, ObjectNew: deleted}), true},
		"a retained namespace":                 {changed.Update(event.UpdateEvent{ObjectOld: current, ObjectNew: retained}), true},
		"the annotation of a retried deletion": {changed.Update(event.UpdateEvent{ObjectOld: deleted, ObjectNew: retried}), false},
		"another allocation":                   {changed.Update(event.UpdateEvent{ObjectOld: current, ObjectNew: stale}), true},
		"another claim":                        {changed.Update(event.UpdateEvent{ObjectOld: current, ObjectNew: moved}), true},
		"a namespace that no longer exists":    {changed.Delete(event.DeleteEvent{Object: current}), true},
	} {
		if test.got != test.want {
			t.Errorf("%s: selected: %t", what, test.got)
		}
	}
}

func TestObjectChanged_ignoresTheStatusOfAQuota(t *testing.T) {
	c, ns := newClusterWithSpace(t, unchanged)
	before := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "space"}}
	counted, changed := before.DeepCopy(), before.DeepCopy()
	counted.Status.Used = corev1.ResourceList{"pods": resource.MustParse("1")}
	changed.Spec.Hard = corev1.ResourceList{"pods": resource.MustParse("1")}
	if c.objectChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: counted}) {
		t.Error("a new status is selected")
	}
	if !c.objectChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: changed}) {
		t.Error("a new spec is ignored")
	}
	if c.objectChanged().Create(event.CreateEvent{Object: before}) {
		t.Error("the controller's own write is selected")
	}
	for what, deprovision := range map[string]func(*corev1.Namespace){
		"retained":    func(ns *corev1.Namespace) { ns.Annotations[c.keys.RetainedUntil] = "2026-03-01T13:00:00Z" },
		"terminating": terminating,
	} {
		deprovisioned := ns.DeepCopy()
		deprovision(deprovisioned)
		c.putInCache(deprovisioned)
		if !c.objectChanged().Create(event.CreateEvent{Object: before}) {
			t.Errorf("an object that is created in a %s namespace is ignored", what)
		}
	}
}

func TestObjectChanged_ignoresStrippedFields(t *testing.T) {
	c, ns := newClusterWithSpace(t, unchanged)
	update := func(change func(*corev1.ServiceAccount)) bool {
		before := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "space", ResourceVersion: "1"}}
		after := before.DeepCopy()
		after.ResourceVersion = "2"
		change(after)
		stripped, err := stripObject(after)
		if err != nil {
			t.Fatal(err)
		}
		return c.objectChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: stripped.(client.Object)})
	}
	if update(func(account *corev1.ServiceAccount) { account.Annotations = map[string]string{"note": "x"} }) {
		t.Error("an annotation is selected")
	}
	if !update(func(account *corev1.ServiceAccount) { account.DeletionTimestamp = ptr.To(metav1.Now()) }) {
		t.Error("a deletion is ignored")
	}
}

func TestRequestsForObject_mapsToTheClaimOfTheSpace(t *testing.T) {
	c, ns := newClusterWithSpace(t, unchanged)
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "Namespace", Name: ns.Name}}}}
	for _, obj := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "space"}},
		binding, ns,
	} {
		if got := c.requestsForObject(t.Context(), obj); len(got) != 1 || got[0].NamespacedName != key {
			t.Errorf("%T maps to %v", obj, got)
		}
	}
	if got := c.requestsForObject(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "space"}}); len(got) != 0 {
		t.Errorf("an object outside of spaces maps to %v", got)
	}
	if got := c.requestsForAllClaims(t.Context(), nil); len(got) != 1 || got[0].NamespacedName != key {
		t.Errorf("requestsForAllClaims returned %v", got)
	}
}

func TestResync_queuesClaimsOutOfSync(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	c.syncCache(claim)
	c.reconcileAndSyncCache(t)
	c.resync(t.Context())
	if got := c.queued(); len(got) != 0 {
		t.Errorf("queued %q, want none", got)
	}
	deleted := claimFor("a")
	deleted.Name, deleted.UID = "deleted", "deleted-uid"
	c.putInCache(c.namespaceFor(deleted))
	allocated := claimFor("a")
	allocated.Name, allocated.UID = "allocated", "allocated-uid"
	c.putInCache(allocated)
	c.requests()
	c.resync(t.Context())
	if got := c.queued(); !slices.Equal(got, []string{"allocated", "deleted"}) {
		t.Errorf("queued %q", got)
	}
	if requests := c.requests(); len(requests) > 0 {
		t.Errorf("got requests %q", requests)
	}
}

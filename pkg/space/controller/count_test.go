// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
)

func TestSpacesAreCountedByTheLeaderOnly(t *testing.T) {
	claim := claimOf("a", "b")
	c := newController(t, claim)
	if err := c.claimInformer.GetIndexer().Add(claim); err != nil {
		t.Fatal(err)
	}
	other := func(name string, change func(*corev1.Namespace)) {
		ns := c.namespaceOf(claim).DeepCopy()
		ns.Name, ns.UID = name, types.UID(name)
		ns.Labels[c.keys.AllocationID] = "another"
		change(ns)
		c.cached(ns)
	}
	other("going", func(ns *corev1.Namespace) { ns.DeletionTimestamp = ptr.To(metav1.Now()) })
	other("kept", func(ns *corev1.Namespace) { ns.Annotations[c.keys.RetainedUntil] = "2026-03-01T13:00:00Z" })
	if got := c.count(); len(got) > 0 {
		t.Errorf("a standby counts %v", got)
	}
	c.leads.Store(true)
	want := map[metrics.Spaces]int{
		{State: metrics.StatePending, Pool: "spaces"}: 2,
		{State: metrics.StateEnding}:                  1,
		{State: metrics.StateRetained}:                1,
	}
	if got := c.count(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}

	if err := c.ensure(t.Context(), claim, c.planOf(claim)); err != nil {
		t.Fatal(err)
	}
	live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.claimInformer.GetIndexer().Update(live); err != nil {
		t.Fatal(err)
	}
	delete(want, metrics.Spaces{State: metrics.StatePending, Pool: "spaces"})
	want[metrics.Spaces{State: metrics.StateReady, Pool: "spaces"}] = 2
	if got := c.count(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

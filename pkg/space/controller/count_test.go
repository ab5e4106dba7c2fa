// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pool"
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

func TestLimitsArePartOfWhatTheLeaderShows(t *testing.T) {
	claim := claimOf("a")
	claim.Status.Allocation.Devices.Results[0].Pool = "node/n1"
	c := newControllerWith(t, func(config *Config) {
		config.Pools = []pool.Pool{
			{Name: "few", Limit: ptr.To[int64](3)},
			{Name: "many"},
			{Name: "node", PerNode: &pool.PerNode{Limit: ptr.To[int64](5)}},
		}
	})
	if err := c.claimInformer.GetIndexer().Add(claim); err != nil {
		t.Fatal(err)
	}
	if got := c.poolLimits(); len(got) > 0 {
		t.Errorf("a standby shows %v", got)
	}
	c.leads.Store(true)
	if got, want := c.poolLimits(), map[string]int64{"few": 3, "node/n1": 5}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestASpaceWhoseTimeIsOverIsNotPending(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	a := identity.Of(claim, driver)
	if err := c.report(t.Context(), claim, a, spaceapi.ReasonExpired, errors.New("its time is over")); err != nil {
		t.Fatal(err)
	}
	live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.claimInformer.GetIndexer().Add(live); err != nil {
		t.Fatal(err)
	}
	c.leads.Store(true)
	if got, want := c.count(), (map[metrics.Spaces]int{{State: metrics.StateExpired, Pool: "spaces"}: 1}); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

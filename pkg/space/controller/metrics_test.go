// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
)

func TestCountSpaces_groupsByStateAndPool(t *testing.T) {
	claim := claimFor("a", "b")
	c := newCluster(t, claim)
	c.syncCache(claim)
	other := func(name string, change func(*corev1.Namespace)) {
		ns := c.namespaceFor(claim)
		ns.Name, ns.UID = name, types.UID(name)
		ns.Labels[c.keys.AllocationID], ns.Annotations[c.keys.Pool] = "another", "limited"
		change(ns)
		c.putInCache(ns)
	}
	other("terminating", func(ns *corev1.Namespace) { ns.DeletionTimestamp = ptr.To(metav1.NewTime(c.now.Now())) })
	other("retained", func(ns *corev1.Namespace) { ns.Annotations[c.keys.RetainedUntil] = "2026-03-01T13:00:00Z" })
	c.now.Step(time.Hour)
	want := map[metrics.SpaceLabels]int{
		{State: metrics.StateProvisioning, Pool: "spaces"}: 2,
		{State: metrics.StateTerminating, Pool: "limited"}: 1,
		{State: metrics.StateRetained, Pool: "limited"}:    1,
	}
	if got := c.countSpaces(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	if stuck := c.countStuckTerminating(); stuck != 1 {
		t.Errorf("counted %d stuck namespaces", stuck)
	}

	if err := c.provisionClaim(claim); err != nil {
		t.Fatal(err)
	}
	c.syncCache(claim)
	delete(want, metrics.SpaceLabels{State: metrics.StateProvisioning, Pool: "spaces"})
	want[metrics.SpaceLabels{State: metrics.StateReady, Pool: "spaces"}] = 2
	if got := c.countSpaces(); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func TestLeaderOnly_countsNothingInAStandby(t *testing.T) {
	elected := make(chan struct{})
	count := leaderOnly(elected, func() int { return 3 })
	if got := count(); got != 0 {
		t.Errorf("in a standby, got %d", got)
	}
	close(elected)
	if got := count(); got != 3 {
		t.Errorf("in the leader, got %d", got)
	}
}

func TestPoolLimits_includesPoolsPerNodeInUse(t *testing.T) {
	claim := claimFor("a")
	claim.Status.Allocation.Devices.Results[0].Pool = "node/n1"
	c := newClusterWith(t, func(config *Config) {
		config.Pools = []pools.Pool{
			{Name: "limited", Limit: ptr.To[int64](3)},
			{Name: "unlimited"},
			{Name: "node", PerNode: &pools.PerNode{Limit: ptr.To[int64](5)}},
		}
	})
	c.putInCache(claim)
	if got, want := c.poolLimits(), map[string]int64{"limited": 3, "node/n1": 5}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCountSpaces_countsExpiredSpaces(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	c.syncCache(claim)
	expired := &reasonError{spaceapi.ReasonExpired, errors.New("expired")}
	if _, err := c.reportNotReady(t.Context(), c.desired(claim), expired); err != nil {
		t.Fatal(err)
	}
	c.syncCache(claim)
	if got, want := c.countSpaces(), (map[metrics.SpaceLabels]int{{State: metrics.StateExpired, Pool: "spaces"}: 1}); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

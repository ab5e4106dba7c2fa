// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/pools"
)

func TestNewDesiredClaim_expiresAtTheShortestLifetime(t *testing.T) {
	claim := withClassConfig(withClassConfig(claimFor("a", "b"), `"maxLifetime":"2h"`, "a"), `"maxLifetime":"1h"`, "b")
	c := newCluster(t)
	claim.Status.Allocation.AllocationTimestamp = ptr.To(metav1.NewTime(c.now.Now()))
	if d := c.desired(claim); d.expired || d.expiresIn != time.Hour {
		t.Errorf("at the start: expired %t, expires in %s", d.expired, d.expiresIn)
	}
	c.now.Step(time.Hour - time.Nanosecond)
	if d := c.desired(claim); d.expired {
		t.Error("expired before its lifetime")
	}
	c.now.Step(time.Nanosecond)
	if d := c.desired(claim); !d.expired || d.expiresIn != 0 {
		t.Error("not expired after its lifetime")
	}
}

func TestNewDesiredClaim_expiresWithoutAllocationTimestamp(t *testing.T) {
	claim := withClassConfig(claimFor("a"), `"maxLifetime":"1h"`)
	c := newCluster(t, claim)
	if d := c.desired(claim); d.expired {
		t.Fatal("expired before it was provisioned")
	}
	ns := c.namespaceFor(claim)
	ns.CreationTimestamp = metav1.NewTime(c.now.Now())
	c.putInCache(ns)
	c.now.Step(time.Hour)
	if !c.desired(claim).expired {
		t.Fatal("not expired")
	}
	// When the namespace is deleted, only the claim's status shows the expiry.
	if err := c.provisionClaim(c.currentClaim()); err != nil {
		t.Fatal(err)
	}
	c.caches.remove(ns)
	if !c.desired(c.currentClaim()).expired {
		t.Error("an expired space would be recreated")
	}
}

func TestNewDesiredClaim_rejectsClaimsInSpaces(t *testing.T) {
	for name, test := range map[string]struct {
		labels   map[string]string
		rejected bool
	}{
		"in another namespace": {nil, false},
		"in a space":           {map[string]string{driver + "/claim-uid": "other"}, true},
		"in a space with another value of the label": {map[string]string{driver + "/claim-uid": "other", driver + "/nested-spaces": "true"}, true},
		"in a space that allows nested spaces":       {map[string]string{driver + "/claim-uid": "other", driver + "/nested-spaces": "Allowed"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claimFor("a")
			c := newCluster(t, claim)
			if test.labels != nil {
				c.putInCache(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: claim.Namespace, Labels: test.labels}})
			}
			if err := c.desired(claim).rejected; (err != nil) != test.rejected {
				t.Errorf("got error %v, want one: %t", err, test.rejected)
			}
		})
	}
}

// Without a record that can be read, a space gets no more than it would get now.
func TestNewDesiredClaim_ignoresADamagedRecordedConfig(t *testing.T) {
	for _, record := range []string{"", "{}", "x", `{"clusterRoles":["cluster-admin"],"network":{"mode":"Open"},"network":{}}`, `{"clusterRoles":["cluster-admin"],"network":{}}`} {
		claim := claimFor("a")
		c := newCluster(t, claim)
		ns := c.namespaceFor(claim)
		ns.Annotations[c.keys.Config] = record
		c.putInCache(ns)
		c.config.Defaults.ClusterRole, c.config.Defaults.Network = "view", spaceapi.NetworkIsolated
		got := c.desired(claim).spaces[0].config
		if !slices.Equal(got.ClusterRoles, []string{"view"}) || got.Network.Mode != spaceapi.NetworkIsolated {
			t.Errorf("%q: got %+v", record, got.Recorded)
		}
		recorded := c.recordedConfig(ns)
		if len(recorded.ClusterRoles) != spaceapi.MaxClusterRoles || recorded.Retention.Duration != 0 {
			t.Errorf("%q: got %+v, want all ClusterRoles", record, recorded)
		}
		withClassConfig(claim, `"clusterRoles":["cluster-admin"]`)
		if d := c.desired(claim); d.rejected == nil {
			t.Errorf("%q: got no error for a role that is not allowed", record)
		}
	}
}

// Before Kubernetes 1.36, devices have no capacity, so that claims cannot request a part of the budget.
func TestNewDesiredClaim_hasTheDefaultPartOfTheBudget(t *testing.T) {
	budget := &pools.Budget{Default: map[string]resource.Quantity{"cpu": resource.MustParse("2"), "pods": resource.MustParse("9")}}
	withBudget := func(cpu string) func(*Config) {
		return func(c *Config) {
			budget.Default["cpu"] = resource.MustParse(cpu)
			c.Pools = []pools.Pool{{Name: "other"}, {Name: "spaces", Budget: budget}}
		}
	}
	for name, test := range map[string]struct {
		change func(*resourceapi.DeviceRequestAllocationResult)
		want   string
	}{
		"an exclusive device":              {func(*resourceapi.DeviceRequestAllocationResult) {}, "pods=4 requests.cpu=2"},
		"an exclusive device, as admin":    {func(r *resourceapi.DeviceRequestAllocationResult) { r.AdminAccess = ptr.To(true) }, "pods=4"},
		"an exclusive device of no budget": {func(r *resourceapi.DeviceRequestAllocationResult) { r.Pool = "other" }, "pods=4"},
		"a shareable device": {func(r *resourceapi.DeviceRequestAllocationResult) {
			r.ShareID, r.ConsumedCapacity = ptr.To(types.UID("share")), map[resourceapi.QualifiedName]resource.Quantity{"cpu": resource.MustParse("1")}
		}, "pods=4 requests.cpu=1"},
	} {
		claim := withClassConfig(claimFor("a"), `"allowAdminAccess":true,"resourceQuota":{"hard":{"pods":"4"}}`)
		result := &claim.Status.Allocation.Devices.Results[0]
		result.Pool, result.ShareID = "spaces", nil
		test.change(result)
		c := newClusterWith(t, withBudget("2"), claim)
		if got := hardOf(c.desired(claim)); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
		// A space keeps its quota when the values change.
		c = newClusterWith(t, withBudget("5"), claim)
		ns := newClusterWith(t, withBudget("2"), claim).namespaceFor(claim)
		c.putInCache(ns)
		if got := hardOf(c.desired(claim)); got != test.want {
			t.Errorf("%s, with other values: got %s, want %s", name, got, test.want)
		}
	}
}

// hardOf returns the quota of the space of a claim.
func hardOf(d *desiredClaim) string {
	var out []string
	for name, amount := range d.spaces[0].config.ResourceQuota.Hard {
		out = append(out, fmt.Sprintf("%s=%s", name, amount.String()))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

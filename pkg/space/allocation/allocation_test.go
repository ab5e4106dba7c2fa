// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const driver = spaceapi.DefaultDriverName

var allocatedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func result(request string) resourceapi.DeviceRequestAllocationResult {
	return resourceapi.DeviceRequestAllocationResult{
		Driver: driver, Request: request, Pool: "spaces", Device: "space",
		ShareID: ptr.To(types.UID("share-of-" + request)),
	}
}

func claimWith(results ...resourceapi.DeviceRequestAllocationResult) *resourceapi.ResourceClaim {
	return &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "pod-test-claim-x7x7x", UID: "claim-uid",
			Finalizers:  []string{resourceapi.Finalizer},
			Annotations: map[string]string{resourceapi.PodResourceClaimAnnotation: "test-claim"},
		},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{
			Devices:             resourceapi.DeviceAllocationResult{Results: results},
			AllocationTimestamp: ptr.To(metav1.NewTime(allocatedAt)),
		}},
	}
}

func TestFromClaim_selectsResultsOfTheDriver(t *testing.T) {
	foreign := result("gpu")
	foreign.Driver = "gpu.example.com"
	for name, test := range map[string]struct {
		claim    *resourceapi.ResourceClaim
		requests []string
	}{
		"no claim": {nil, nil},
		"a claim without allocation": {
			&resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{UID: "claim-uid"}}, nil},
		"only another driver's result":           {claimWith(foreign), nil},
		"another driver's result among own ones": {claimWith(result("a"), foreign, result("b")), []string{"a", "b"}},
		"own results, in the allocation's order": {claimWith(result("b"), result("a")), []string{"b", "a"}},
		"being deleted, still in use by a pod":   {deleting(claimWith(result("a")), resourceapi.Finalizer), []string{"a"}},
		"being deleted, without any finalizer":   {deleting(claimWith(result("a"))), nil},
		"being deleted, with another finalizer only": {
			deleting(claimWith(result("a")), "example.com/mine"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := allocation.FromClaim(test.claim, driver)
			if test.requests == nil {
				if a != nil {
					t.Fatalf("got an allocation of %d results, want none", len(a.Results))
				}
				return
			}
			if a == nil {
				t.Fatal("got no allocation")
			}
			var got []string
			for _, s := range a.Results {
				got = append(got, s.Request)
			}
			if !slices.Equal(got, test.requests) {
				t.Errorf("got the requests %q, want %q", got, test.requests)
			}
		})
	}
}

func deleting(claim *resourceapi.ResourceClaim, finalizers ...string) *resourceapi.ResourceClaim {
	claim.DeletionTimestamp = ptr.To(metav1.Now())
	claim.Finalizers = finalizers
	return claim
}

func TestFromClaim_setsAllFields(t *testing.T) {
	r := result("a")
	r.AdminAccess = ptr.To(true)
	claim := claimWith(r)
	claim.Status.Allocation.Devices.Config = []resourceapi.DeviceAllocationConfiguration{{Requests: []string{"a"}}}
	a := allocation.FromClaim(claim, driver)
	if want := (types.NamespacedName{Namespace: "team", Name: "pod-test-claim-x7x7x"}); a.Claim != want || a.ClaimUID != "claim-uid" {
		t.Errorf("got claim %s with UID %s", a.Claim, a.ClaimUID)
	}
	if a.PodClaimName != "test-claim" || !a.FromTemplate {
		t.Errorf("got pod claim name %q, from a template: %t, want the one from the template's annotation", a.PodClaimName, a.FromTemplate)
	}
	if len(a.Configs) != 1 {
		t.Errorf("got %d configurations, want 1", len(a.Configs))
	}
	s := a.Results[0]
	if s.Pool != "spaces" || s.Device != "space" || *s.ShareID != "share-of-a" || !*s.AdminAccess {
		t.Errorf("got result %+v", s)
	}

	delete(claim.Annotations, resourceapi.PodResourceClaimAnnotation)
	if got := allocation.FromClaim(claim, driver); got.PodClaimName != claim.Name || got.FromTemplate {
		t.Errorf("got pod claim name %q for a claim without template, from one: %t, want its own name", got.PodClaimName, got.FromTemplate)
	}
	claim.Annotations = map[string]string{resourceapi.ExtendedResourceClaimAnnotation: "true"}
	if got := allocation.FromClaim(claim, driver); got.PodClaimName != "space" || got.FromTemplate {
		t.Errorf("got pod claim name %q for a claim that the scheduler created, from a template: %t, want space", got.PodClaimName, got.FromTemplate)
	}
}

func TestFromClaim_namesChangeWithTheAllocation(t *testing.T) {
	names := func(change func(*resourceapi.ResourceClaim)) (string, string) {
		claim := claimWith(result("a"), result("b"))
		change(claim)
		a := allocation.FromClaim(claim, driver)
		return a.ID, a.Results[0].NamespaceName("")
	}
	sameID, sameName := names(func(*resourceapi.ResourceClaim) {})

	first := func(c *resourceapi.ResourceClaim) *resourceapi.DeviceRequestAllocationResult {
		return &c.Status.Allocation.Devices.Results[0]
	}
	for what, change := range map[string]func(*resourceapi.ResourceClaim){
		"the claim's UID":      func(c *resourceapi.ResourceClaim) { c.UID = "other" },
		"the share ID":         func(c *resourceapi.ResourceClaim) { first(c).ShareID = ptr.To(types.UID("other")) },
		"the share ID to none": func(c *resourceapi.ResourceClaim) { first(c).ShareID = nil },
		"the device":           func(c *resourceapi.ResourceClaim) { first(c).Device = "other" },
		"the pool":             func(c *resourceapi.ResourceClaim) { first(c).Pool = "other" },
		"the request":          func(c *resourceapi.ResourceClaim) { first(c).Request = "other" },
		"the number of results": func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.Devices.Results = c.Status.Allocation.Devices.Results[:1]
		},
		"the time of the allocation": func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.AllocationTimestamp = ptr.To(metav1.NewTime(allocatedAt.Add(time.Second)))
		},
		"the time of the allocation to none": func(c *resourceapi.ResourceClaim) { c.Status.Allocation.AllocationTimestamp = nil },
	} {
		t.Run("differs after a change of "+what, func(t *testing.T) {
			id, name := names(change)
			if id == sameID {
				t.Errorf("the allocation ID is still %s", id)
			}
			if name == sameName {
				t.Errorf("the namespace is still %s", name)
			}
		})
	}
	for what, change := range map[string]func(*resourceapi.ResourceClaim){
		"labels":          func(c *resourceapi.ResourceClaim) { c.Labels = map[string]string{"a": "b"} },
		"resourceVersion": func(c *resourceapi.ResourceClaim) { c.ResourceVersion = "17" },
		"consumers": func(c *resourceapi.ResourceClaim) {
			c.Status.ReservedFor = []resourceapi.ResourceClaimConsumerReference{{Resource: "pods", Name: "p"}}
		},
		"the time zone of the timestamp": func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.AllocationTimestamp = ptr.To(metav1.NewTime(allocatedAt.In(time.FixedZone("x", 3600))))
		},
		"another driver's result": func(c *resourceapi.ResourceClaim) {
			foreign := result("gpu")
			foreign.Driver = "gpu.example.com"
			c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, foreign)
		},
	} {
		t.Run("is the same after a change of "+what, func(t *testing.T) {
			if id, name := names(change); id != sameID || name != sameName {
				t.Errorf("got %s and %s, want %s and %s", id, name, sameID, sameName)
			}
		})
	}
}

func TestFromClaim_distinguishesSpacesBySubdirs(t *testing.T) {
	for name, test := range map[string]struct {
		requests []string
		subdirs  []string
	}{
		"one space has none":                                 {[]string{"a"}, []string{""}},
		"one space of a prioritized list":                    {[]string{"main/small"}, []string{""}},
		"several requests":                                   {[]string{"a", "b"}, []string{"a", "b"}},
		"a subrequest has that of its request":               {[]string{"main/small", "b"}, []string{"main", "b"}},
		"a request for two":                                  {[]string{"a", "a"}, []string{"a.0", "a.1"}},
		"a request for two, and another":                     {[]string{"b", "a", "a"}, []string{"b", "a.0", "a.1"}},
		"a subrequest for two, and another":                  {[]string{"m/x", "m/x", "b"}, []string{"m.0", "m.1", "b"}},
		"a request for two, and a request of a similar name": {[]string{"a", "a", "a-0"}, []string{"a.0", "a.1", "a-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			var results []resourceapi.DeviceRequestAllocationResult
			for i, request := range test.requests {
				r := result(request)
				r.Device = fmt.Sprintf("space-%d", i)
				results = append(results, r)
			}
			var got []string
			for _, s := range allocation.FromClaim(claimWith(results...), driver).Results {
				got = append(got, s.Subdir)
			}
			if !slices.Equal(got, test.subdirs) {
				t.Errorf("got %q, want %q", got, test.subdirs)
			}
		})
	}
}

func TestOwns_matchesLabelsAndName(t *testing.T) {
	keys := spaceapi.KeysFor(driver)
	a := allocation.FromClaim(claimWith(result("a"), result("b")), driver)
	const prefix = "ns-"
	own := func(change func(*corev1.Namespace)) *corev1.Namespace {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name:   a.Results[1].NamespaceName(prefix),
			Labels: map[string]string{keys.ClaimUID: string(a.ClaimUID), keys.AllocationID: a.ID},
		}}
		change(ns)
		return ns
	}
	for name, test := range map[string]struct {
		allocation *allocation.Allocation
		ns         *corev1.Namespace
		want       bool
	}{
		"own namespace":            {a, own(func(*corev1.Namespace) {}), true},
		"no allocation":            {nil, own(func(*corev1.Namespace) {}), false},
		"of another claim":         {a, own(func(n *corev1.Namespace) { n.Labels[keys.ClaimUID] = "other" }), false},
		"of an earlier allocation": {a, own(func(n *corev1.Namespace) { n.Labels[keys.AllocationID] = "other" }), false},
		"with another name":        {a, own(func(n *corev1.Namespace) { n.Name = "ns-other" }), false},
		"without labels":           {a, own(func(n *corev1.Namespace) { n.Labels = nil }), false},
		"with another prefix":      {a, own(func(n *corev1.Namespace) { n.Name = a.Results[1].NamespaceName("x-") }), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.allocation.Owns(test.ns, keys); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
	otherKeys := spaceapi.KeysFor("other.example.com")
	if a.Owns(own(func(*corev1.Namespace) {}), otherKeys) {
		t.Error("another installation owns the namespace")
	}
}

// The names must not change: a plugin and a controller of different versions work together,
// and a controller that is updated finds its spaces.
func TestFromClaim_namesAreStable(t *testing.T) {
	a := allocation.FromClaim(claimWith(result("a"), result("b")), driver)
	got := []string{a.ID, a.Results[0].NamespaceName("ephemeral-ns-"), a.Results[1].NamespaceName("ephemeral-ns-")}
	if want := []string{"pphnsg98g5vwbqjn9zfm", "ephemeral-ns-l4sfqrhgcf", "ephemeral-ns-pl8kh54w4d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFromClaim_findsTheClassOfEachRequest(t *testing.T) {
	claim := &resourceapi.ResourceClaim{
		Spec: resourceapi.ResourceClaimSpec{Devices: resourceapi.DeviceClaim{Requests: []resourceapi.DeviceRequest{
			{Name: "one", Exactly: &resourceapi.ExactDeviceRequest{DeviceClassName: "exact"}},
			{Name: "list", FirstAvailable: []resourceapi.DeviceSubRequest{{Name: "a", DeviceClassName: "first"}, {Name: "b", DeviceClassName: "second"}}},
		}}},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{}},
	}
	for _, request := range []string{"one", "list/b", "list", "absent"} {
		claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results,
			resourceapi.DeviceRequestAllocationResult{Driver: "d", Request: request})
	}
	want := []string{"exact", "second", "", ""}
	for i, result := range allocation.FromClaim(claim, "d").Results {
		if result.Class != want[i] {
			t.Errorf("request %s is of class %q, want %q", result.Request, result.Class, want[i])
		}
	}
}

// A character that moves from the end of one field to the start of the next must change the ID.
func FuzzFromClaim_uniqueIDs(f *testing.F) {
	f.Add("uid", "request", "pool", "device", "share", "uid", "request", "pool", "device", "share")
	f.Add("uid", "a", "bc", "device", "share", "uid", "ab", "c", "device", "share")
	f.Add("uid1", "", "", "", "", "uid", "1", "", "", "")
	f.Add("1:a", "", "", "", "", "", "1:a", "", "", "")
	f.Add("u", "r", "p", "d", "3:x0:", "u", "r", "p", "d", "")
	f.Fuzz(func(t *testing.T, uid1, request1, pool1, device1, share1, uid2, request2, pool2, device2, share2 string) {
		one := fuzzed(uid1, request1, pool1, device1, share1)
		two := fuzzed(uid2, request2, pool2, device2, share2)
		same := uid1 == uid2 && request1 == request2 && pool1 == pool2 && device1 == device2 && share1 == share2
		if (one.ID == two.ID) != same {
			t.Errorf("same fields: %t, but allocation IDs %s and %s", same, one.ID, two.ID)
		}
		nameOne, nameTwo := one.Results[0].NamespaceName("p-"), two.Results[0].NamespaceName("p-")
		if (nameOne == nameTwo) != same {
			t.Errorf("same fields: %t, but namespaces %s and %s", same, nameOne, nameTwo)
		}

		// Both are results of one claim.
		both := claimWith(fuzzedResult(request1, pool1, device1, share1), fuzzedResult(request2, pool2, device2, share2))
		both.UID = types.UID(uid1)
		if id := allocation.FromClaim(both, driver).ID; id == one.ID || id == two.ID {
			t.Errorf("an allocation of two results has the ID %s of one of them", id)
		}
	})
}

func FuzzNamespaceName_isValid(f *testing.F) {
	f.Add("claim-uid", "request", "pool", "device", "share")
	f.Add("", "", "", "", "")
	f.Add("\x00\xff", "main/sub", "pool/with/slashes", "ü", "../..")
	f.Fuzz(func(t *testing.T, uid, request, pool, device, share string) {
		a := fuzzed(uid, request, pool, device, share)
		for _, prefix := range []string{spaceapi.DefaultNamespacePrefix, "a", strings.Repeat("p", 53)} {
			name := a.Results[0].NamespaceName(prefix)
			if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 {
				t.Errorf("namespace name %q: %s", name, msgs)
			}
		}
		if msgs := validation.IsValidLabelValue(a.ID); len(msgs) > 0 || a.ID == "" {
			t.Errorf("allocation ID %q: %s", a.ID, msgs)
		}
	})
}

func fuzzed(uid, request, pool, device, share string) *allocation.Allocation {
	claim := claimWith(fuzzedResult(request, pool, device, share))
	claim.UID = types.UID(uid)
	return allocation.FromClaim(claim, driver)
}

func fuzzedResult(request, pool, device, share string) resourceapi.DeviceRequestAllocationResult {
	return resourceapi.DeviceRequestAllocationResult{
		Driver: driver, Request: request, Pool: pool, Device: device, ShareID: ptr.To(types.UID(share)),
	}
}

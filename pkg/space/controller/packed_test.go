// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
)

// served returns a claim with two spaces, and with devices of another driver, as the
// API server has it when the spaces are ready.
func (c *cluster) served() *resourceapi.ResourceClaim {
	c.t.Helper()
	claim := templated(1, driver)
	claim.ResourceVersion = "7"
	claim.Labels = map[string]string{"app": "worker"}
	devices := &claim.Status.Allocation.Devices
	mine := devices.Results[0]
	mine.Request, mine.ShareID = "second", ptr.To(types.UID("share-2"))
	mine.ConsumedCapacity = map[resourceapi.QualifiedName]resource.Quantity{"spaces": resource.MustParse("1")}
	devices.Results = append(devices.Results, resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: "gpu.example.com", Pool: "node", Device: "gpu-0"}, mine)
	parameters := func(driver, raw string) resourceapi.DeviceAllocationConfiguration {
		return resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass, DeviceConfiguration: resourceapi.DeviceConfiguration{
			Opaque: &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(raw)}},
		}}
	}
	devices.Config = append(devices.Config, parameters("gpu.example.com", `{"kind":"Other"}`),
		parameters(driver, `{"apiVersion":"`+spaceapi.APIVersion+`","kind":"SpaceClassConfig","maxLifetime":"1h"}`))
	claim.Status.Devices = []resourceapi.AllocatedDeviceStatus{{Driver: "gpu.example.com", Pool: "node", Device: "gpu-0", Data: &runtime.RawExtension{Raw: []byte(`{"a":1}`)}}}
	c.live(claim.DeepCopy())
	c.now.SetTime(claim.Status.Allocation.AllocationTimestamp.Time)
	if err := c.ensure(c.t.Context(), claim, c.planOf(claim)); err != nil {
		c.t.Fatal(err)
	}
	live, err := c.api.ResourceV1().ResourceClaims(claim.Namespace).Get(c.t.Context(), claim.Name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return live
}

func TestACachedClaimSaysOfItsSpacesWhatTheWholeClaimDoes(t *testing.T) {
	c := newController(t)
	whole := c.served()
	obj, err := trimClaim(driver)(whole.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	if _, settled := obj.(*settledClaim); !settled {
		t.Fatalf("a claim with all its spaces is cached as %T", obj)
	}
	got := trimmed(t, trimClaim(driver), whole.DeepCopy())
	a, b := identity.Of(whole, driver), identity.Of(got, driver)
	if a.ID != b.ID || a.PodClaimName != b.PodClaimName || len(a.Shares) != 2 || !equality.Semantic.DeepEqual(a.Shares[0].NamespaceName(""), b.Shares[0].NamespaceName("")) {
		t.Errorf("got the allocation %+v, want %+v", b, a)
	}
	for i := range a.Shares {
		if x, y := a.Shares[i], b.Shares[i]; !equality.Semantic.DeepEqual(x.ConsumedCapacity, y.ConsumedCapacity) || x.Class != y.Class || x.Slot != y.Slot || x.NamespaceName("") != y.NamespaceName("") {
			t.Errorf("got the share %+v, want %+v", y, x)
		}
	}
	p, q := c.planOf(whole), c.planOf(got)
	if !equality.Semantic.DeepEqual(p.effective, q.effective) || !p.ends.Equal(q.ends) || p.lifetime != time.Hour || p.refused != nil || q.refused != nil {
		t.Errorf("got the plan %+v, want %+v", q, p)
	}
	if !isReady(got, driver, b) || !equality.Semantic.DeepEqual(got.Status.ReservedFor, whole.Status.ReservedFor) || *reference(got) != *reference(whole) || !slices.Equal(got.Finalizers, whole.Finalizers) {
		t.Errorf("got %+v, want %+v", got, whole)
	}
	if c.concernsUs(whole, got) {
		t.Error("a claim that is the same is looked at again")
	}

	whole.DeletionTimestamp = ptr.To(metav1.NewTime(time.Unix(1_770_000_100, 0)))
	if got := trimmed(t, trimClaim(driver), whole.DeepCopy()); identity.Of(got, driver) == nil || !got.DeletionTimestamp.Equal(whole.DeletionTimestamp) {
		t.Error("a claim that is being deleted and in use has lost its allocation in the cache")
	}
	whole.Finalizers = nil
	if got := trimmed(t, trimClaim(driver), whole.DeepCopy()); identity.Of(got, driver) != nil {
		t.Error("a claim that has been let go of has an allocation in the cache")
	}
}

func TestAClaimThatWaitsForItsSpaceIsCachedAsItIs(t *testing.T) {
	claim := templated(1, driver)
	want := claim.DeepCopy()
	claim.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "scheduler"}}
	if got := trimmed(t, trimClaim(driver), claim); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNothingIsWrittenOrReadWhileACachedClaimSaysWhatItShould(t *testing.T) {
	c := newController(t)
	live := c.served()
	for _, share := range identity.Of(live, driver).Shares {
		ns, err := c.api.CoreV1().Namespaces().Get(t.Context(), share.NamespaceName("ns-"), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.put(ns)
	}
	c.put(live)
	c.said()
	claim := c.claim(claimKey(live))
	a := identity.Of(claim, driver)
	c.api.ClearActions()
	if err := c.ensure(t.Context(), claim, c.planOf(claim)); err != nil {
		t.Fatal(err)
	}
	for _, action := range c.api.Actions() {
		if action.GetResource().Resource == "resourceclaims" {
			t.Errorf("did %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
	if len(a.Shares) != 2 {
		t.Errorf("there are %d shares", len(a.Shares))
	}
}

func TestWhatIsNotInTheCacheIsNotLostWhenTheStatusChanges(t *testing.T) {
	c := newController(t)
	live := c.served()
	c.put(live.DeepCopy())
	claim := c.claim(claimKey(live))
	if err := c.report(t.Context(), claim, identity.Of(claim, driver), spaceapi.ReasonExpired, errors.New("its time is over")); err != nil {
		t.Fatal(err)
	}
	got, err := c.api.ResourceV1().ResourceClaims(live.Namespace).Get(t.Context(), live.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Status.Devices {
		if device := &got.Status.Devices[i]; device.Driver == driver {
			if device.Data != nil || len(device.Conditions) != 1 || device.Conditions[0].Reason != spaceapi.ReasonExpired {
				t.Errorf("the status says %+v", device)
			}
			device.Data, device.Conditions = live.Status.Devices[i].Data, live.Status.Devices[i].Conditions
		}
	}
	if !equality.Semantic.DeepEqual(got, live) {
		t.Errorf("the claim is now\n%+v\nwant but for the conditions\n%+v", got, live)
	}
}

func TestAStatusIsNotWrittenForAnAllocationThatTheCacheAloneHas(t *testing.T) {
	for name, change := range map[string]func(c *cluster, live *resourceapi.ResourceClaim) error{
		"the claim has gone": func(c *cluster, live *resourceapi.ResourceClaim) error {
			return c.api.Tracker().Delete(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), live.Namespace, live.Name)
		},
		"the claim was allocated anew": func(c *cluster, live *resourceapi.ResourceClaim) error {
			live.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("another"))
			return c.api.Tracker().Update(resourceapi.SchemeGroupVersion.WithResource("resourceclaims"), live, live.Namespace)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			live := c.served()
			c.put(live.DeepCopy())
			if err := change(c, live); err != nil {
				t.Fatal(err)
			}
			c.api.ClearActions()
			claim := c.claim(claimKey(live))
			if err := c.report(t.Context(), claim, identity.Of(claim, driver), spaceapi.ReasonExpired, errors.New("its time is over")); err != nil {
				t.Fatal(err)
			}
			if wrote := c.wrote(); len(wrote) > 0 {
				t.Errorf("wrote %v", wrote)
			}
		})
	}
}

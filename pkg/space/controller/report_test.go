// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

var claims = resourceapi.Resource("resourceclaims")

func failing(message string) []status.Entry {
	return []status.Entry{{
		Ready: metav1.Condition{Status: metav1.ConditionFalse, Reason: spaceapi.ReasonProvisioningFailed, Message: message},
	}}
}

func TestWritingTheStatusThroughFailures(t *testing.T) {
	conflict := apierrors.NewConflict(claims, "claim", errors.New("changed meanwhile"))
	invalid := apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceClaim").GroupKind(), "claim", nil)
	same := func(*resourceapi.ResourceClaim) {}
	for name, test := range map[string]struct {
		// failure is the answer to the first write; live is the claim by then, nil: gone.
		failure error
		live    func(*resourceapi.ResourceClaim)
		writes  int
		changed bool
		err     error
	}{
		"no failure":             {nil, same, 1, true, nil},
		"the claim has gone":     {apierrors.NewNotFound(claims, "claim"), nil, 1, false, nil},
		"a conflict":             {conflict, same, 2, true, nil},
		"a conflict, then gone":  {conflict, nil, 1, false, nil},
		"not allowed":            {invalid, same, 1, false, invalid},
		"any other failure":      {apierrors.NewInternalError(errors.New("x")), same, 1, false, apierrors.NewInternalError(errors.New("x"))},
		"not allocated any more": {invalid, func(c *resourceapi.ResourceClaim) { c.Status.Allocation = nil }, 1, false, nil},
		"a conflict with another allocation": {conflict, func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		}, 1, false, nil},
		"a conflict with another claim": {conflict, func(c *resourceapi.ResourceClaim) { c.UID = "other" }, 1, false, nil},
		"a conflict with the same words, written by another": {conflict, func(c *resourceapi.ResourceClaim) {
			entries := failing("no luck")
			entries[0].Share = allocationOf(t, c).Shares[0]
			if _, err := status.Apply(c, driver, entries, metav1.Now()); err != nil {
				t.Fatal(err)
			}
		}, 1, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			claim := claimOf("a")
			if test.live != nil {
				live := claimOf("a")
				test.live(live)
				c.live(live)
			}
			writes := 0
			c.api.PrependReactor("update", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
				writes++
				return writes == 1 && test.failure != nil, nil, test.failure
			})
			a := allocationOf(t, claim)
			entries := failing("no luck")
			entries[0].Share = a.Shares[0]
			before := claim.DeepCopy()
			changed, err := c.writeStatus(t.Context(), claim, a, entries)
			if changed != test.changed || (err == nil) != (test.err == nil) || err != nil && apierrors.ReasonForError(err) != apierrors.ReasonForError(test.err) {
				t.Errorf("got changed: %t, error %v, want changed: %t, error %v", changed, err, test.changed, test.err)
			}
			if writes != test.writes {
				t.Errorf("wrote %d times, want %d", writes, test.writes)
			}
			if len(claim.Status.Devices) != len(before.Status.Devices) {
				t.Error("the claim in the cache was changed")
			}
		})
	}
}

func TestAFailureIsSaidOnceToEverybody(t *testing.T) {
	claim := claimOf("a", "b")
	c := newController(t, claim)
	a := allocationOf(t, claim)
	cause := errors.New("the name is taken")
	if err := c.report(t.Context(), claim, a, spaceapi.ReasonNameConflict, cause); err != nil {
		t.Fatal(err)
	}
	if said, want := c.said(), []string{
		"Warning NameConflict the name is taken",
		"Warning NameConflict ResourceClaim claim: the name is taken",
	}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q: one on the claim, one on its pod", said, want)
	}
	live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, share := range a.Shares {
		condition, data, err := status.Read(live, driver, a, share)
		if err != nil || data != nil || condition == nil || condition.Status != metav1.ConditionFalse ||
			condition.Reason != spaceapi.ReasonNameConflict || condition.Message != "the name is taken" {
			t.Errorf("request %s: got %v, %v, error %v", share.Request, condition, data, err)
		}
	}

	c.api.ClearActions()
	if err := c.report(t.Context(), live, a, spaceapi.ReasonNameConflict, cause); err != nil {
		t.Fatal(err)
	}
	if said, wrote := c.said(), c.wrote(); len(said) > 0 || len(wrote) > 0 {
		t.Errorf("the second time, said %q and wrote %q", said, wrote)
	}
}

func TestARefusalIsFinalAndMakesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*resourceapi.ResourceClaim)
		want   string
	}{
		"admin access": {func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.Devices.Results[1].AdminAccess = ptr.To(true)
		}, "request b asks for admin access"},
		"parameters": {func(c *resourceapi.ResourceClaim) {
			config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClaim}
			config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{Raw: []byte(`{"kind":"K"}`)}}
			c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config, config)
		}, `kind: Unsupported value: "K"`},
		"spaces that get in each other's way": {func(c *resourceapi.ResourceClaim) {
			config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClaim}
			config.Opaque = &resourceapi.OpaqueDeviceConfiguration{Driver: driver, Parameters: runtime.RawExtension{
				Raw: []byte(`{"kind":"SpaceClaimConfig","apiVersion":"space.resource.example.com/v1alpha1","kubeconfigEnv":true}`),
			}}
			c.Status.Allocation.Devices.Config = append(c.Status.Allocation.Devices.Config, config)
		}, "requests a and b both set the variable KUBECONFIG"},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claimOf("a", "b")
			test.change(claim)
			c := newController(t, claim)
			// No error: it is not tried again.
			if err := c.ensure(t.Context(), claim, c.planOf(claim)); err != nil {
				t.Errorf("got error %v", err)
			}
			if got := c.wrote(); !slices.Equal(got, []string{"update resourceclaims"}) {
				t.Errorf("wrote %q, want the claim's status only", got)
			}
			if said := c.said(); len(said) != 2 || !strings.HasPrefix(said[0], "Warning InvalidParameters") || !strings.Contains(said[0], test.want) {
				t.Errorf("said %q, want the claim and its pod to hear %q", said, test.want)
			}
		})
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package claimstatus_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

const driver = spaceapi.DefaultDriverName

var (
	before = metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	after  = metav1.NewTime(before.Add(time.Minute))
)

// allocated returns a claim with two shares of the same device.
func allocated(t *testing.T) (*resourceapi.ResourceClaim, *allocation.Allocation) {
	t.Helper()
	result := func(request string) resourceapi.DeviceRequestAllocationResult {
		return resourceapi.DeviceRequestAllocationResult{
			Driver: driver, Request: request, Pool: "spaces", Device: "space", ShareID: ptr.To(types.UID("share-" + request)),
		}
	}
	claim := &resourceapi.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "claim", UID: "claim-uid"},
		Status: resourceapi.ResourceClaimStatus{Allocation: &resourceapi.AllocationResult{
			Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{result("a"), result("b")}},
		}},
	}
	a := allocation.FromClaim(claim, driver)
	if a == nil {
		t.Fatal("the claim is not allocated")
	}
	return claim, a
}

func ready(a *allocation.Allocation, result allocation.Result) claimstatus.Entry {
	return claimstatus.Entry{
		Result: result,
		Ready:  metav1.Condition{Status: metav1.ConditionTrue, Reason: spaceapi.ReasonProvisioned, Message: "fine"},
		Data: &spaceapi.SpaceStatus{
			TypeMeta:     metav1.TypeMeta{APIVersion: spaceapi.APIVersion, Kind: spaceapi.SpaceStatusKind},
			AllocationID: a.ID, Namespace: "ns-of-" + result.Request, ServiceAccountUID: "account-uid",
		},
	}
}

func notReady(result allocation.Result, message string) claimstatus.Entry {
	return claimstatus.Entry{
		Result: result,
		Ready:  metav1.Condition{Status: metav1.ConditionFalse, Reason: spaceapi.ReasonProvisioningFailed, Message: message},
	}
}

func apply(t *testing.T, claim *resourceapi.ResourceClaim, now metav1.Time, wantChange bool, entries ...claimstatus.Entry) {
	t.Helper()
	changed, err := claimstatus.Apply(claim, driver, entries, now)
	if err != nil {
		t.Fatal(err)
	}
	if changed != wantChange {
		t.Errorf("Apply returned %t, want %t", changed, wantChange)
	}
}

func TestRead_returnsWhatWasApplied(t *testing.T) {
	claim, a := allocated(t)
	apply(t, claim, before, true, ready(a, a.Results[0]), notReady(a.Results[1], "not yet"))
	if len(claim.Status.Devices) != 2 {
		t.Fatalf("got %d entries in status.devices, want one per share", len(claim.Status.Devices))
	}

	condition, data, err := claimstatus.Read(claim, driver, a, a.Results[0])
	if err != nil || data == nil || data.Namespace != "ns-of-a" || condition.Status != metav1.ConditionTrue {
		t.Errorf("first share: got %v, %+v, error %v", condition, data, err)
	}
	if !condition.LastTransitionTime.Equal(&before) {
		t.Errorf("the condition began at %s, want %s", condition.LastTransitionTime, before)
	}
	condition, data, err = claimstatus.Read(claim, driver, a, a.Results[1])
	if err != nil || data != nil || condition == nil || condition.Status != metav1.ConditionFalse || condition.Message != "not yet" {
		t.Errorf("second share: got %v, %+v, error %v", condition, data, err)
	}
}

func TestApply_isIdempotent(t *testing.T) {
	claim, a := allocated(t)
	entries := []claimstatus.Entry{ready(a, a.Results[0]), notReady(a.Results[1], "not yet")}
	apply(t, claim, before, true, entries...)
	want := claim.DeepCopy()
	apply(t, claim, after, false, entries...)
	if !equality.Semantic.DeepEqual(claim, want) {
		t.Errorf("the claim changed:\n%+v\n%+v", want.Status.Devices, claim.Status.Devices)
	}
}

func TestApply_keepsTheTransitionTimeOfTheSameStatus(t *testing.T) {
	claim, a := allocated(t)
	result := a.Results[0]
	at := func() *metav1.Time { return &claim.Status.Devices[0].Conditions[0].LastTransitionTime }
	apply(t, claim, before, true, notReady(result, "not yet"))
	apply(t, claim, after, true, notReady(result, "still not"))
	if !at().Equal(&before) {
		t.Errorf("a new message changed the transition time to %s", at())
	}
	apply(t, claim, after, true, ready(a, result))
	if !at().Equal(&after) {
		t.Errorf("a new status did not change the transition time: %s", at())
	}
}

func TestApply_keepsOtherEntries(t *testing.T) {
	claim, a := allocated(t)
	result := a.Results[0]
	foreign := []resourceapi.AllocatedDeviceStatus{
		{Driver: "gpu.example.com", Pool: result.Pool, Device: result.Device, ShareID: (*string)(result.ShareID),
			Conditions: []metav1.Condition{{Type: spaceapi.ConditionReady, Status: metav1.ConditionFalse, Message: "theirs"}}},
		{Driver: driver, Pool: "other-pool", Device: result.Device, ShareID: (*string)(result.ShareID)},
		{Driver: driver, Pool: result.Pool, Device: "other-device", ShareID: (*string)(result.ShareID)},
		{Driver: driver, Pool: result.Pool, Device: result.Device, ShareID: ptr.To("other-share")},
		{Driver: driver, Pool: result.Pool, Device: result.Device},
	}
	own := resourceapi.AllocatedDeviceStatus{
		Driver: driver, Pool: result.Pool, Device: result.Device, ShareID: (*string)(result.ShareID),
		Conditions:  []metav1.Condition{{Type: "Example", Status: metav1.ConditionTrue, Reason: "Example", Message: "of another client"}},
		NetworkData: &resourceapi.NetworkDeviceData{InterfaceName: "eth7"},
	}
	claim.Status.Devices = append(append([]resourceapi.AllocatedDeviceStatus{}, foreign...), own)
	want := claim.DeepCopy().Status.Devices
	apply(t, claim, before, true, ready(a, result))

	if len(claim.Status.Devices) != len(want) {
		t.Fatalf("got %d entries, want %d", len(claim.Status.Devices), len(want))
	}
	for i := range foreign {
		if !equality.Semantic.DeepEqual(claim.Status.Devices[i], want[i]) {
			t.Errorf("entry %d changed to %+v", i, claim.Status.Devices[i])
		}
	}
	got := claim.Status.Devices[len(foreign)]
	if len(got.Conditions) != 2 || got.Conditions[0] != own.Conditions[0] || got.NetworkData == nil {
		t.Errorf("the driver's entry lost what other clients wrote: %+v", got)
	}
}

func TestApply_removesDataWhenNotReady(t *testing.T) {
	claim, a := allocated(t)
	apply(t, claim, before, true, ready(a, a.Results[0]))
	apply(t, claim, after, true, notReady(a.Results[0], "lost"))
	if data := claim.Status.Devices[0].Data; data != nil {
		t.Errorf("the data are still there: %s", data.Raw)
	}
}

func TestRead_ignoresOtherEntries(t *testing.T) {
	claim, a := allocated(t)
	other := *a
	other.ID = "earlier"
	for name, entries := range map[string][]claimstatus.Entry{
		"no entry":                 nil,
		"of another share":         {ready(a, a.Results[1])},
		"of an earlier allocation": {ready(&other, a.Results[0])},
		"of both":                  {ready(&other, a.Results[0]), ready(a, a.Results[1])},
	} {
		t.Run(name, func(t *testing.T) {
			claim := claim.DeepCopy()
			apply(t, claim, before, len(entries) > 0, entries...)
			condition, data, err := claimstatus.Read(claim, driver, a, a.Results[0])
			if condition != nil || data != nil || err != nil {
				t.Errorf("got %v, %+v, error %v, want nothing", condition, data, err)
			}
		})
	}
}

func TestRead_rejectsInvalidData(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*spaceapi.SpaceStatus)
		raw    string
		want   string
	}{
		"another kind":    {func(s *spaceapi.SpaceStatus) { s.Kind = "Other" }, "", `kind "Other"`},
		"another version": {func(s *spaceapi.SpaceStatus) { s.APIVersion = "space.resource.example.com/v2" }, "", `apiVersion "space.resource.example.com/v2"`},
		"broken data":     {nil, `{"kind":`, "request a"},
		"other types":     {nil, `{"kind":7}`, "request a"},
		"no data":         {nil, "", "has no data"},
	} {
		t.Run(name, func(t *testing.T) {
			claim, a := allocated(t)
			entry := ready(a, a.Results[0])
			apply(t, claim, before, true, entry)
			device := &claim.Status.Devices[0]
			switch {
			case test.change != nil:
				test.change(entry.Data)
				raw, err := json.Marshal(entry.Data)
				if err != nil {
					t.Fatal(err)
				}
				device.Data.Raw = raw
			case test.raw != "":
				device.Data = &runtime.RawExtension{Raw: []byte(test.raw)}
			default:
				device.Data = nil
			}
			_, data, err := claimstatus.Read(claim, driver, a, a.Results[0])
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "team/claim") {
				t.Errorf("got %+v and error %v, want one that contains the claim and %q", data, err, test.want)
			}
		})
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package claimstatus reads and writes what a ResourceClaim's status.devices says
// about its spaces. The controller writes it, the kubelet plugin reads it, and
// both use these functions, so that they mean the same.
package claimstatus

import (
	"encoding/json"
	"fmt"
	"reflect"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// Entry is what is to be said about one share.
type Entry struct {
	Share allocation.Result
	// Ready is the share's condition; its type and its transition time are filled in.
	Ready metav1.Condition
	// Failed tells the scheduler to try another allocation. Otherwise nothing is
	// said about that, unless it was said before.
	Failed bool
	// Data is nil unless the space is ready.
	Data *spaceapi.SpaceStatus
}

// Apply puts the entries into the claim's status.devices and says whether that
// changed anything. Entries of other drivers stay as they are, and so does the
// transition time of a condition whose status stays.
func Apply(claim *resourceapi.ResourceClaim, driver string, entries []Entry, now metav1.Time) (bool, error) {
	changed := false
	for _, e := range entries {
		device := resourceapi.AllocatedDeviceStatus{
			Driver:  driver,
			Pool:    e.Share.Pool,
			Device:  e.Share.Device,
			ShareID: (*string)(e.Share.ShareID),
		}
		existing := find(claim, driver, e.Share)
		if existing != nil {
			device = *existing.DeepCopy()
		}
		condition := e.Ready
		condition.Type = spaceapi.ConditionReady
		condition.LastTransitionTime = now
		meta.SetStatusCondition(&device.Conditions, condition)
		if failed := failedCondition(e, now); e.Failed || meta.FindStatusCondition(device.Conditions, failed.Type) != nil {
			meta.SetStatusCondition(&device.Conditions, failed)
		}
		if e.Data == nil {
			device.Data = nil
		} else {
			raw, err := e.encode()
			if err != nil {
				return false, err
			}
			// A patch by somebody else changes the order of the fields.
			if device.Data == nil || !sameJSON(device.Data.Raw, raw) {
				device.Data = &runtime.RawExtension{Raw: raw}
			}
		}
		switch {
		case existing == nil:
			claim.Status.Devices = append(claim.Status.Devices, device)
			changed = true
		case !equality.Semantic.DeepEqual(*existing, device):
			*existing = device
			changed = true
		}
	}
	return changed, nil
}

// encode is what is written of the data.
func (e Entry) encode() ([]byte, error) {
	raw, err := json.Marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encode the status of the space for request %s: %w", e.Share.Request, err)
	}
	return raw, nil
}

// sameJSON returns whether two JSON values are the same.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// failedCondition says why the scheduler should try again, in the words of Ready.
func failedCondition(e Entry, now metav1.Time) metav1.Condition {
	condition := e.Ready
	condition.Type, condition.Status, condition.LastTransitionTime = spaceapi.ConditionFailed, metav1.ConditionFalse, now
	if e.Failed {
		condition.Status = metav1.ConditionTrue
	}
	return condition
}

// Read returns what is said about the share: its Ready condition and, when that
// is True, the space. Both are nil when nothing has been said yet, or when the
// space is one of an earlier allocation.
func Read(claim *resourceapi.ResourceClaim, driver string, a *allocation.Allocation, result allocation.Result) (*metav1.Condition, *spaceapi.SpaceStatus, error) {
	device := find(claim, driver, result)
	if device == nil {
		return nil, nil, nil
	}
	ready := meta.FindStatusCondition(device.Conditions, spaceapi.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue {
		return ready, nil, nil
	}
	if device.Data == nil {
		return nil, nil, fmt.Errorf("status.devices of ResourceClaim %s says Ready for request %s, but carries no data", a.Claim, result.Request)
	}
	var data spaceapi.SpaceStatus
	if err := json.Unmarshal(device.Data.Raw, &data); err != nil {
		return nil, nil, fmt.Errorf("read status.devices of ResourceClaim %s for request %s: %w", a.Claim, result.Request, err)
	}
	if data.APIVersion != spaceapi.APIVersion || data.Kind != spaceapi.SpaceStatusKind {
		return nil, nil, fmt.Errorf("status.devices of ResourceClaim %s for request %s is of kind %q, apiVersion %q; this version of the driver knows %q, %q",
			a.Claim, result.Request, data.Kind, data.APIVersion, spaceapi.SpaceStatusKind, spaceapi.APIVersion)
	}
	// An exclusive device has no share ID: an entry that was written late for the
	// device's previous allocation would match, but for this.
	if data.AllocationID != a.ID {
		return nil, nil, nil
	}
	return ready, &data, nil
}

// Conditions returns the conditions of the share, or nil. For an exclusive device they may be
// those of an earlier allocation.
func Conditions(claim *resourceapi.ResourceClaim, driver string, result allocation.Result) []metav1.Condition {
	if device := find(claim, driver, result); device != nil {
		return device.Conditions
	}
	return nil
}

func find(claim *resourceapi.ResourceClaim, driver string, result allocation.Result) *resourceapi.AllocatedDeviceStatus {
	for i := range claim.Status.Devices {
		d := &claim.Status.Devices[i]
		if d.Driver == driver && d.Pool == result.Pool && d.Device == result.Device &&
			ptr.Equal((*types.UID)(d.ShareID), result.ShareID) {
			return d
		}
	}
	return nil
}

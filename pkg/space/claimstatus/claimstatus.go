// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package claimstatus reads and writes the spaces in a ResourceClaim's status.devices. The
// controller writes them and the kubelet plugin reads them.
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

// Entry is the part of a claim's status about one result of its allocation.
type Entry struct {
	Result allocation.Result
	// Ready is the condition Ready. Apply sets its type and its transition time.
	Ready metav1.Condition
	// BindingFailed makes the scheduler deallocate the claim and retry. Otherwise the entry has
	// that condition only if it was set before.
	BindingFailed bool
	// Data is nil unless the space is ready.
	Data *spaceapi.SpaceStatus
}

// Apply puts the entries into the claim's status.devices, and reports whether that changed anything.
// It does not change entries of other drivers, nor the transition time of a condition whose status
// is the same as before.
func Apply(claim *resourceapi.ResourceClaim, driver string, entries []Entry, now metav1.Time) (bool, error) {
	changed := false
	for _, e := range entries {
		device := resourceapi.AllocatedDeviceStatus{
			Driver:  driver,
			Pool:    e.Result.Pool,
			Device:  e.Result.Device,
			ShareID: (*string)(e.Result.ShareID),
		}
		existing := find(claim, driver, e.Result)
		if existing != nil {
			device = *existing.DeepCopy()
		}
		e.Ready.Type, e.Ready.LastTransitionTime = spaceapi.ConditionReady, now
		meta.SetStatusCondition(&device.Conditions, e.Ready)
		if e.BindingFailed || meta.FindStatusCondition(device.Conditions, spaceapi.ConditionBindingFailed) != nil {
			failed := e.Ready
			failed.Type, failed.Status = spaceapi.ConditionBindingFailed, metav1.ConditionFalse
			if e.BindingFailed {
				failed.Status = metav1.ConditionTrue
			}
			meta.SetStatusCondition(&device.Conditions, failed)
		}
		if e.Data == nil {
			device.Data = nil
		} else {
			raw, err := json.Marshal(e.Data)
			if err != nil {
				return false, fmt.Errorf("encode the status of the space for request %s: %w", e.Result.Request, err)
			}
			// A patch by another client changes the order of the fields.
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

// sameJSON reports whether two JSON values are equal.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// Read returns the Ready condition of a result and, when that is True, the space. Both are
// nil when the status has no entry yet, or one for an earlier allocation.
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
		return nil, nil, fmt.Errorf("status.devices of ResourceClaim %s is Ready for request %s, but has no data", a.Claim, result.Request)
	}
	var data spaceapi.SpaceStatus
	if err := json.Unmarshal(device.Data.Raw, &data); err != nil {
		return nil, nil, fmt.Errorf("read status.devices of ResourceClaim %s for request %s: %w", a.Claim, result.Request, err)
	}
	if data.APIVersion != spaceapi.APIVersion || data.Kind != spaceapi.SpaceStatusKind {
		return nil, nil, fmt.Errorf("status.devices of ResourceClaim %s for request %s is of kind %q, apiVersion %q; this version of the driver supports %q, %q",
			a.Claim, result.Request, data.Kind, data.APIVersion, spaceapi.SpaceStatusKind, spaceapi.APIVersion)
	}
	// A dedicated device has no share ID: an entry for the device's previous allocation
	// matches, too.
	if data.AllocationID != a.ID {
		return nil, nil, nil
	}
	return ready, &data, nil
}

// Conditions returns the conditions of a result, or nil. For a dedicated device they may be
// those of an earlier allocation.
func Conditions(claim *resourceapi.ResourceClaim, driver string, result allocation.Result) []metav1.Condition {
	if device := find(claim, driver, result); device != nil {
		return device.Conditions
	}
	return nil
}

// find returns the entry of a result, or nil.
func find(claim *resourceapi.ResourceClaim, driver string, result allocation.Result) *resourceapi.AllocatedDeviceStatus {
	for i := range claim.Status.Devices {
		device := &claim.Status.Devices[i]
		if device.Driver == driver && device.Pool == result.Pool && device.Device == result.Device &&
			ptr.Equal((*types.UID)(device.ShareID), result.ShareID) {
			return device
		}
	}
	return nil
}

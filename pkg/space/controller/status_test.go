// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

var claims = resourceapi.Resource("resourceclaims")

// failing are entries for a claim that has no space.
func failing(a *allocation.Allocation, message string) []claimstatus.Entry {
	return []claimstatus.Entry{{
		Result: a.Results[0],
		Ready:  metav1.Condition{Status: metav1.ConditionFalse, Reason: spaceapi.ReasonProvisioningFailed, Message: message},
	}}
}

func TestWriteStatus_throughFailures(t *testing.T) {
	conflict := apierrors.NewConflict(claims, "claim", errors.New("changed meanwhile"))
	invalid := apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceClaim").GroupKind(), "claim", nil)
	same := func(*resourceapi.ResourceClaim) {}
	for name, test := range map[string]struct {
		// failure is the response to the first write; live is the claim by then, nil: deleted.
		failure error
		live    func(*resourceapi.ResourceClaim)
		writes  int
		changed bool
		err     error
	}{
		"no failure":             {nil, same, 1, true, nil},
		"the claim is deleted":   {apierrors.NewNotFound(claims, "claim"), nil, 1, false, nil},
		"a conflict":             {conflict, same, 2, true, nil},
		"a conflict, then gone":  {conflict, nil, 1, false, nil},
		"not allowed":            {invalid, same, 1, false, invalid},
		"any other failure":      {apierrors.NewInternalError(errors.New("x")), same, 1, false, apierrors.NewInternalError(errors.New("x"))},
		"not allocated any more": {invalid, func(c *resourceapi.ResourceClaim) { c.Status.Allocation = nil }, 1, false, nil},
		"a conflict with another allocation": {conflict, func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		}, 1, false, nil},
		"a conflict with another claim": {conflict, func(c *resourceapi.ResourceClaim) { c.UID = "other" }, 1, false, nil},
		"a conflict with the same message, written by another": {conflict, func(c *resourceapi.ResourceClaim) {
			if _, err := claimstatus.Apply(c, driver, failing(allocationOf(t, c), "no luck"), metav1.Now()); err != nil {
				t.Fatal(err)
			}
		}, 1, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			claim := claimFor("a")
			if test.live != nil {
				live := claimFor("a")
				test.live(live)
				c.live(live)
			}
			writes := 0
			c.react("update resourceclaims", func(client.Object) (bool, error) {
				writes++
				return true, map[bool]error{true: test.failure}[writes == 1]
			})
			changed, err := c.writeStatus(t.Context(), c.desired(claim), failing(allocationOf(t, claim), "no luck"))
			if changed != test.changed || (err == nil) != (test.err == nil) || err != nil && apierrors.ReasonForError(err) != apierrors.ReasonForError(test.err) {
				t.Errorf("got changed: %t, error %v, want changed: %t, error %v", changed, err, test.changed, test.err)
			}
			if writes != test.writes {
				t.Errorf("wrote %d times, want %d", writes, test.writes)
			}
			if len(claim.Status.Devices) != 0 {
				t.Error("the cached claim was changed")
			}
		})
	}
}

func TestWriteStatus_keepsWhatTheCacheLacks(t *testing.T) {
	claim := claimFor("a")
	claim.Labels = map[string]string{"app": "worker"}
	claim.Annotations = map[string]string{"example.com/note": strings.Repeat("n", maxCached)}
	claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results,
		resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: "gpu.example.com", Pool: "node", Device: "gpu-0"})
	claim.Status.Devices = []resourceapi.AllocatedDeviceStatus{{
		Driver: "gpu.example.com", Pool: "node", Device: "gpu-0", Data: &runtime.RawExtension{Raw: []byte(`{"a":1}`)}, Conditions: []metav1.Condition{},
	}}
	c := newCluster(t, claim)
	c.catchUp(claim)
	cached, err := getClaim(t.Context(), c.client, key)
	if err != nil || len(cached.Status.Devices) != 0 || cached.Labels != nil {
		t.Fatalf("the cache has %+v, error %v", cached, err)
	}
	if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	live := c.liveOne()
	if !isReady(live, driver, allocationOf(t, live)) || len(live.Status.Devices) != 2 {
		t.Errorf("the status is %+v", live.Status.Devices)
	}
	live.Status.Devices = slices.DeleteFunc(live.Status.Devices, func(d resourceapi.AllocatedDeviceStatus) bool { return d.Driver == driver })
	live.ResourceVersion, live.ManagedFields = claim.ResourceVersion, claim.ManagedFields
	if !equality.Semantic.DeepEqual(live, claim) {
		t.Errorf("the claim is now\n%+v\nwant, except for our entries,\n%+v", live, claim)
	}
}

func TestConditionReason_isFoundInJoinedErrors(t *testing.T) {
	conflict := &reasonError{"NameConflict", errors.New("taken")}
	err := parallel([]func() error{func() error { return nil }, func() error { return errors.New("first") }, func() error { return conflict }})
	if got := conditionReason(err); got != "NameConflict" {
		t.Errorf("the reason is %s", got)
	}
	if got := err.Error(); got != "first\ntaken" {
		t.Errorf("the message is %q", got)
	}
}

func TestShouldFailBinding_laterEachTime(t *testing.T) {
	c := newCluster(t)
	// reported is a claim whose allocation failed, which is reported.
	reported := func(share string, conditions ...string) *desiredClaim {
		claim := claimFor("a")
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID(share))
		claim.Status.Allocation.Devices.Results[0].BindingConditions = conditions
		c.live(claim)
		if _, err := c.reportNotReady(t.Context(), c.desired(c.liveOne()), errors.New("no")); err != nil {
			t.Fatal(err)
		}
		return c.desired(c.liveOne())
	}
	// deallocate is what the scheduler does then. The next allocation is that of another claim
	// for the API server, and of the same one for the caches.
	deallocate := func(claim *resourceapi.ResourceClaim) {
		t.Helper()
		claim.Finalizers = nil
		if err := errors.Join(c.api.Update(t.Context(), claim), client.IgnoreNotFound(c.api.Delete(t.Context(), claim))); err != nil {
			t.Fatal(err)
		}
		c.cached(&resourceapi.ResourceClaim{ObjectMeta: claim.ObjectMeta})
		if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
			t.Fatal(err)
		}
	}
	for i, delay := range []time.Duration{firstBindingFailure, 2 * firstBindingFailure, 4 * firstBindingFailure} {
		failed := reported(fmt.Sprint("share-", i), spaceapi.ConditionReady)
		if fails, after := c.shouldFailBinding(failed); fails || after != delay {
			t.Errorf("allocation %d: fails %t immediately, or after %s, want %s", i, fails, after, delay)
		}
		c.now.Step(delay - time.Second)
		if fails, after := c.shouldFailBinding(failed); fails || after != time.Second {
			t.Errorf("allocation %d: fails %t too soon, or after %s", i, fails, after)
		}
		c.now.Step(time.Second)
		if _, err := c.reportNotReady(t.Context(), failed, errors.New("no")); err != nil {
			t.Fatal(err)
		}
		failed = c.desired(c.liveOne())
		if fails, _ := c.shouldFailBinding(failed); !fails {
			t.Errorf("allocation %d was not failed after %s: %+v", i, delay, failed.claim.Status.Devices)
		}
		deallocate(failed.claim)
	}
	c.bindingFailures.Add(key, 100)
	failed := reported("x", spaceapi.ConditionReady)
	if _, after := c.shouldFailBinding(failed); after != lastBindingFailure {
		t.Errorf("the delay is %s, want %s at most", after, lastBindingFailure)
	}
	deallocate(failed.claim)
	c.caches.remove(failed.claim)
	if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	failed = reported("y", spaceapi.ConditionReady)
	if _, after := c.shouldFailBinding(failed); after != firstBindingFailure {
		t.Errorf("a claim that is recreated waits for %s", after)
	}
	deallocate(failed.claim)
	failed = reported("z")
	if fails, after := c.shouldFailBinding(failed); fails || after != 0 {
		t.Error("without binding conditions, nobody waits for it")
	}
}

func TestWriteStatus_returnsTheErrorsOfUpdateAndRead(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	c.catchUp(claim)
	update, read := errors.New("update failed"), errors.New("read failed")
	c.fail("update resourceclaims", update)
	c.fail("get resourceclaims", read)
	d := c.desired(claim)
	if _, err := c.writeStatus(t.Context(), d, failing(d.Allocation, "x")); !errors.Is(err, update) || !errors.Is(err, read) {
		t.Errorf("got error %v", err)
	}
}

func TestReportNotReady_limitsTheMessage(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	c.catchUp(claim)
	d := c.desired(claim)
	if _, err := c.reportNotReady(t.Context(), d, errors.New(strings.Repeat("ä", 40_000))); err != nil {
		t.Fatal(err)
	}
	// The API server accepts 32 KiB.
	if live := c.liveOne(); len(live.Status.Devices) != 1 || len(live.Status.Devices[0].Conditions[0].Message) > maxMessage {
		t.Errorf("got %v", live.Status.Devices)
	}
}

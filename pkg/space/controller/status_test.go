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

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
)

var claims = resourceapi.Resource("resourceclaims")

// failing returns entries for a claim without a space.
func failing(a *allocation.Allocation, message string) []claimstatus.Entry {
	return []claimstatus.Entry{{
		Result: a.Results[0],
		Ready:  metav1.Condition{Status: metav1.ConditionFalse, Reason: spaceapi.ReasonProvisioningFailed, Message: message},
	}}
}

func TestWriteStatus_retriesConflictsOnly(t *testing.T) {
	conflict := apierrors.NewConflict(claims, "claim", errors.New("changed meanwhile"))
	invalid := apierrors.NewInvalid(resourceapi.SchemeGroupVersion.WithKind("ResourceClaim").GroupKind(), "claim", nil)
	same := func(*resourceapi.ResourceClaim) {}
	for name, test := range map[string]struct {
		// failure is the response to the first write. live changes the claim before it. If nil, the
		// claim is deleted.
		failure error
		live    func(*resourceapi.ResourceClaim)
		writes  int
		changed bool
		err     error
	}{
		"no failure":               {nil, same, 1, true, nil},
		"the claim is deleted":     {apierrors.NewNotFound(claims, "claim"), nil, 1, false, nil},
		"a conflict":               {conflict, same, 2, true, nil},
		"a conflict, then deleted": {conflict, nil, 1, false, nil},
		"not allowed":              {invalid, same, 1, false, invalid},
		"any other failure":        {apierrors.NewInternalError(errors.New("x")), same, 1, false, apierrors.NewInternalError(errors.New("x"))},
		"not allocated any more":   {invalid, func(c *resourceapi.ResourceClaim) { c.Status.Allocation = nil }, 1, false, nil},
		"a conflict with another allocation": {conflict, func(c *resourceapi.ResourceClaim) {
			c.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		}, 1, false, nil},
		"a conflict with another claim": {conflict, func(c *resourceapi.ResourceClaim) { c.UID = "other" }, 1, false, nil},
		"a conflict, with the same message in the status": {conflict, func(c *resourceapi.ResourceClaim) {
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
				c.createInAPI(live)
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
				t.Error("the cached claim was modified")
			}
		})
	}
}

func TestWriteStatus_doesNotTruncateTheClaim(t *testing.T) {
	claim := claimFor("a")
	claim.Labels = map[string]string{"app": "worker"}
	claim.Annotations = map[string]string{"example.com/note": strings.Repeat("n", maxCached)}
	claim.Status.Allocation.Devices.Results = append(claim.Status.Allocation.Devices.Results,
		resourceapi.DeviceRequestAllocationResult{Request: "gpu", Driver: "gpu.example.com", Pool: "node", Device: "gpu-0"})
	claim.Status.Devices = []resourceapi.AllocatedDeviceStatus{{
		Driver: "gpu.example.com", Pool: "node", Device: "gpu-0", Data: &runtime.RawExtension{Raw: []byte(`{"a":1}`)}, Conditions: []metav1.Condition{},
	}}
	c := newCluster(t, claim)
	c.syncCache(claim)
	cached, err := getClaim(t.Context(), c.client, key)
	if err != nil || len(cached.Status.Devices) != 0 || cached.Labels != nil {
		t.Fatalf("the cache has %+v, error %v", cached, err)
	}
	c.mustReconcile()
	live := c.currentClaim()
	if !isReady(live, driver, allocationOf(t, live)) || len(live.Status.Devices) != 2 {
		t.Errorf("the status is %+v", live.Status.Devices)
	}
	live.Status.Devices = slices.DeleteFunc(live.Status.Devices, func(d resourceapi.AllocatedDeviceStatus) bool { return d.Driver == driver })
	live.ResourceVersion, live.ManagedFields = claim.ResourceVersion, claim.ManagedFields
	if !equality.Semantic.DeepEqual(live, claim) {
		t.Errorf("got claim\n%+v\nwant, apart from the entries of the driver,\n%+v", live, claim)
	}
}

func TestConditionReason_findsTheReasonInJoinedErrors(t *testing.T) {
	conflict := &reasonError{"NameConflict", errors.New("taken")}
	err := parallel([]func() error{func() error { return nil }, func() error { return errors.New("first") }, func() error { return conflict }})
	if got := conditionReason(err); got != "NameConflict" {
		t.Errorf("got reason %s", got)
	}
	if got := err.Error(); got != "first\ntaken" {
		t.Errorf("got message %q", got)
	}
}

func TestShouldFailBinding_backsOff(t *testing.T) {
	c := newCluster(t)
	// reported returns a claim with a failure in its status.
	reported := func(share string, conditions ...string) *desiredClaim {
		claim := claimFor("a")
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID(share))
		claim.Status.Allocation.Devices.Results[0].BindingConditions = conditions
		c.createInAPI(claim)
		if _, err := c.reportNotReady(t.Context(), c.desired(c.currentClaim()), errors.New("no")); err != nil {
			t.Fatal(err)
		}
		return c.desired(c.currentClaim())
	}
	// deallocate deallocates the claim, as the scheduler does. The next allocation is that of another
	// claim in the API server, and of the same claim in the cache.
	deallocate := func(claim *resourceapi.ResourceClaim) {
		t.Helper()
		claim.Finalizers = nil
		if err := errors.Join(c.api.Update(t.Context(), claim), client.IgnoreNotFound(c.api.Delete(t.Context(), claim))); err != nil {
			t.Fatal(err)
		}
		c.putInCache(&resourceapi.ResourceClaim{ObjectMeta: claim.ObjectMeta})
		c.mustReconcile()
	}
	for i, delay := range []time.Duration{firstBindingFailure, 2 * firstBindingFailure, 4 * firstBindingFailure} {
		failed := reported(fmt.Sprint("share-", i), spaceapi.ConditionReady)
		if fails, after := c.shouldFailBinding(failed); fails || after != delay {
			t.Errorf("allocation %d: fails %t, after %s, want %s", i, fails, after, delay)
		}
		c.now.Step(delay - time.Second)
		if fails, after := c.shouldFailBinding(failed); fails || after != time.Second {
			t.Errorf("allocation %d: fails %t, after %s, want 1s", i, fails, after)
		}
		c.now.Step(time.Second)
		if _, err := c.reportNotReady(t.Context(), failed, errors.New("no")); err != nil {
			t.Fatal(err)
		}
		failed = c.desired(c.currentClaim())
		if fails, _ := c.shouldFailBinding(failed); !fails {
			t.Errorf("allocation %d did not fail after %s: %+v", i, delay, failed.claim.Status.Devices)
		}
		deallocate(failed.claim)
	}
	c.bindingFailures.Add(key, 100)
	failed := reported("x", spaceapi.ConditionReady)
	if _, after := c.shouldFailBinding(failed); after != lastBindingFailure {
		t.Errorf("the delay is %s, want at most %s", after, lastBindingFailure)
	}
	deallocate(failed.claim)
	c.caches.remove(failed.claim)
	c.mustReconcile()
	failed = reported("y", spaceapi.ConditionReady)
	if _, after := c.shouldFailBinding(failed); after != firstBindingFailure {
		t.Errorf("for a recreated claim, the delay is %s", after)
	}
	deallocate(failed.claim)
	failed = reported("z")
	if fails, after := c.shouldFailBinding(failed); fails || after != 0 {
		t.Errorf("without binding conditions: fails %t, after %s", fails, after)
	}
}

func TestWriteStatus_returnsTheErrorsOfUpdateAndRead(t *testing.T) {
	claim := claimFor("a")
	c := newCluster(t, claim)
	c.syncCache(claim)
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
	c.syncCache(claim)
	d := c.desired(claim)
	if _, err := c.reportNotReady(t.Context(), d, errors.New(strings.Repeat("ä", 40_000))); err != nil {
		t.Fatal(err)
	}
	// The API server accepts 32 KiB.
	if live := c.currentClaim(); len(live.Status.Devices) != 1 || len(live.Status.Devices[0].Conditions[0].Message) > maxMessage {
		t.Errorf("got %v", live.Status.Devices)
	}
}

func TestConditionReason_distinguishesValidationFromPolicies(t *testing.T) {
	invalid := apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind(), "ns",
		field.ErrorList{field.Invalid(field.NewPath("metadata", "labels"), "x", "not a label")})
	// The error of an admission policy, see k8s.io/apiserver, pkg/admission/plugin/policy/validating.
	denied := apierrors.NewForbidden(corev1.Resource("namespaces"), "ns", errors.New("denied request"))
	denied.ErrStatus.Reason, denied.ErrStatus.Details.Causes = metav1.StatusReasonInvalid, []metav1.StatusCause{{Message: "denied request"}}
	for want, err := range map[string]error{
		spaceapi.ReasonInvalidParameters:  fmt.Errorf("create namespace ns: %w", errors.Join(invalid)),
		spaceapi.ReasonProvisioningFailed: fmt.Errorf("create namespace ns: %w", errors.Join(denied)),
		spaceapi.ReasonExpired:            &reasonError{spaceapi.ReasonExpired, invalid},
	} {
		if got := conditionReason(err); got != want {
			t.Errorf("got %s for %v, want %s", got, err, want)
		}
	}
}

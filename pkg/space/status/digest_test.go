// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"errors"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
)

// digested returns a claim that says less of its spaces.
func digested(t *testing.T, claim *resourceapi.ResourceClaim, a *identity.Allocation) *resourceapi.ResourceClaim {
	t.Helper()
	digests := status.Digests(claim, driver, a)
	if len(digests) != len(a.Shares) {
		t.Fatalf("got %d digests of %d spaces", len(digests), len(a.Shares))
	}
	out := claim.DeepCopy()
	out.Status.Devices = nil
	for i, share := range a.Shares {
		out.Status.Devices = append(out.Status.Devices, resourceapi.AllocatedDeviceStatus{
			Driver: driver, Pool: share.Pool, Device: share.Device, ShareID: (*string)(share.ShareID),
			Data: &runtime.RawExtension{Object: status.DecodeDigest(digests[i].Encode())},
		})
	}
	return out
}

func TestADigestTellsWhetherAnythingWouldChange(t *testing.T) {
	whole, a := allocated(t)
	one, two := ready(a, a.Shares[0]), ready(a, a.Shares[1])
	apply(t, whole, before, true, one, two)
	failedOnce, _ := allocated(t)
	failure := notReady(a.Shares[0], "not yet")
	failure.Failed = true
	apply(t, failedOnce, before, true, failure)
	apply(t, failedOnce, before, true, one, two)

	for name, claim := range map[string]*resourceapi.ResourceClaim{"a claim": whole, "a claim that had failed": failedOnce} {
		for what, test := range map[string]struct {
			change func(e *status.Entry)
			same   bool
		}{
			"the same":           {func(*status.Entry) {}, true},
			"the same, later on": {func(e *status.Entry) { e.Ready.LastTransitionTime = after }, true},
			"another account":    {func(e *status.Entry) { e.Data.ServiceAccountUID = "other" }, false},
			"another kubeconfig": {func(e *status.Entry) { e.Data.Kubeconfig = "other" }, false},
			"another allocation": {func(e *status.Entry) { e.Data.AllocationID = "other" }, false},
			"another message":    {func(e *status.Entry) { e.Ready.Message = "other" }, false},
			"another reason":     {func(e *status.Entry) { e.Ready.Reason = "Other" }, false},
			"a failure":          {func(e *status.Entry) { *e = notReady(e.Share, "lost") }, false},
			"a given-up failure": {func(e *status.Entry) { *e = notReady(e.Share, "lost"); e.Failed = true }, false},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				changed := ready(a, a.Shares[1])
				test.change(&changed)
				want, err := status.Apply(claim.DeepCopy(), driver, []status.Entry{one, changed}, after)
				if err != nil || want == test.same {
					t.Fatalf("the whole claim changes: %t, error %v", want, err)
				}
				got, err := status.Apply(digested(t, claim, a), driver, []status.Entry{one, changed}, after)
				if test.same && (got || err != nil) {
					t.Errorf("would change: %t, error %v, want nothing", got, err)
				}
				if !test.same && !errors.Is(err, status.ErrDigest) {
					t.Errorf("would change: %t, error %v, want that the whole claim is needed", got, err)
				}
			})
		}
	}
}

func TestADigestIsOfReadySpacesOnly(t *testing.T) {
	claim, a := allocated(t)
	if status.Digests(claim, driver, a) != nil {
		t.Error("there are digests of what nobody has said")
	}
	apply(t, claim, before, true, ready(a, a.Shares[0]), notReady(a.Shares[1], "not yet"))
	if status.Digests(claim, driver, a) != nil {
		t.Error("there are digests of a space that is not ready")
	}
	earlier := *a
	earlier.ID = "earlier"
	apply(t, claim, before, true, ready(&earlier, a.Shares[1]))
	if status.Digests(claim, driver, a) != nil {
		t.Error("there are digests of a space of an earlier allocation")
	}
}

func TestReadyIsReadWithDigestsAndWithout(t *testing.T) {
	claim, a := allocated(t)
	apply(t, claim, before, true, ready(a, a.Shares[0]), ready(a, a.Shares[1]))
	other := *a
	other.ID = "other"
	for name, claim := range map[string]*resourceapi.ResourceClaim{"whole": claim, "digests": digested(t, claim, a)} {
		condition, is, err := status.Ready(claim, driver, a, a.Shares[0])
		if err != nil || !is || condition.Status != metav1.ConditionTrue {
			t.Errorf("%s: got %v, ready %t, error %v", name, condition, is, err)
		}
		if condition, is, err := status.Ready(claim, driver, &other, a.Shares[0]); err != nil || is || condition != nil {
			t.Errorf("%s, another allocation: got %v, ready %t, error %v", name, condition, is, err)
		}
	}
	if _, _, err := status.Read(digested(t, claim, a), driver, a, a.Shares[0]); !errors.Is(err, status.ErrDigest) {
		t.Errorf("a space was read of a digest, error %v", err)
	}
}

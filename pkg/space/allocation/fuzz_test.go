// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package allocation_test

import (
	"regexp"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// The fields of one allocation are written one after the other. A character that
// moves from the end of one to the start of the next must make another allocation.
func FuzzIdentityTellsFieldListsApart(f *testing.F) {
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

		// Both as the shares of one claim: a second share is never lost either.
		both := claimWith(fuzzedResult(request1, pool1, device1, share1), fuzzedResult(request2, pool2, device2, share2))
		both.UID = types.UID(uid1)
		if id := allocation.FromClaim(both, driver).ID; id == one.ID || id == two.ID {
			t.Errorf("an allocation of two shares has the ID %s of one of them", id)
		}
	})
}

func FuzzIdentityNamesAreLabels(f *testing.F) {
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

func FuzzIdentityVariablePrefix(f *testing.F) {
	allowed := regexp.MustCompile(`^[A-Z0-9_]*$`)
	for _, seed := range []string{"test-claim", "", "a=b", "x\ny", "ünï", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := allocation.EnvPrefix(name)
		if !allowed.MatchString(got) {
			t.Errorf("%q became %q", name, got)
		}
		if len([]rune(got)) != len([]rune(name)) {
			t.Errorf("%q became %q: characters were lost or added", name, got)
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

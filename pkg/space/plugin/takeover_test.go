// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"
	"testing/synctest"
)

func TestAClaimThatAnotherProcessPreparedIsRenewedAndReleased(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("a"), "account-1"))
		other, err := New(n.driver.Config)
		n.must(err)
		other.Start(t.Context())
		if _, err := other.prepare(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		n.awaitMint("the first token")
		other.Stop()
		// The only process left has not prepared the claim.
		n.awaitMint("a renewal")
		synctest.Wait() // until it has let go of the claim

		n.must(n.driver.store.remove(claim.UID))
		n.driver.resync(t.Context())
		if c := n.driver.keeper.get(claim.UID); c != nil {
			t.Error("a claim that was removed is still renewed")
		}
	})
}

func TestAClaimThatWasGivenUpIsNotTakenOverAgain(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		p := preparedClaim{Namespace: "team", Name: "gone", UID: "gone-uid", AllocationID: "x"}
		n.must(n.driver.store.put(p, nil))
		for range 3 {
			n.resync() // the claim is not there, which is noticed
			if n.driver.keeper.follows(p.UID, p.AllocationID) {
				t.Error("it is looked after")
			}
		}
		n.wantNoMint("the claim is gone")
	})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"testing"

	"github.com/space-dra/space-dra-driver/pkg/space/parameters"
)

func TestASpaceKeepsItsNameWhenThePrefixChanges(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	a := allocationOf(t, claim)
	ns := c.cached(c.Settings.For(a, a.Shares[0], a.Shares[0].NamespaceName("before-"), parameters.Effective{}).Namespace)
	c.live(ns)

	if err := c.endOthers(t.Context(), a.Claim, a); err != nil {
		t.Fatal(err)
	}
	if wrote := c.wrote(); len(wrote) != 0 {
		t.Errorf("a space of a living allocation was touched: %v", wrote)
	}
	if err := c.ensure(t.Context(), claim, c.planOf(claim)); err != nil {
		t.Fatal(err)
	}
	if wrote := c.wrote(); slices.Contains(wrote, "create namespaces") {
		t.Errorf("a second namespace was made: %v", wrote)
	}
}

func TestOurOwnWordsAboutAFailureAreNoReasonToTryAgain(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	before, after := claim.DeepCopy(), claim.DeepCopy()
	after.Status.Devices = append(after.Status.Devices, before.Status.Devices...)
	if err := c.report(t.Context(), after, allocationOf(t, after), "ProvisioningFailed", errors.New("forbidden")); err != nil {
		t.Fatal(err)
	}
	if c.concernsUs(before, after) {
		t.Error("the claim is queued again at once")
	}
	deallocated := claim.DeepCopy()
	deallocated.Status.Allocation = nil
	if !c.concernsUs(claim, deallocated) || !c.concernsUs(deallocated, claim) {
		t.Error("a claim that was deallocated or allocated is passed over")
	}
}

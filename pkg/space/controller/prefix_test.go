// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

func TestConcernsUs_ignoresOwnFailureReports(t *testing.T) {
	claim := claimOf("a")
	c := newController(t, claim)
	before := claim
	for _, cause := range []string{"forbidden", "quota exceeded"} {
		if err := c.report(t.Context(), before, allocationOf(t, before), "ProvisioningFailed", errors.New(cause)); err != nil {
			t.Fatal(err)
		}
		after, err := c.api.ResourceV1().ResourceClaims(claim.Namespace).Get(t.Context(), claim.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(after.Status.Devices) != 1 || after.Status.Devices[0].Conditions[0].Message != cause {
			t.Fatalf("the report was not written: %+v", after.Status.Devices)
		}
		if c.concernsUs(before, after) {
			t.Errorf("report %q queues the claim again", cause)
		}
		before = after
	}
	deallocated := claim.DeepCopy()
	deallocated.Status.Allocation = nil
	if !c.concernsUs(claim, deallocated) || !c.concernsUs(deallocated, claim) {
		t.Error("a claim that was deallocated or allocated is passed over")
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

func TestTwoFailuresAtOnceDoNotTakeTurnsInTheStatus(t *testing.T) {
	claim := claimOf("a", "b")
	c := newController(t, claim)
	c.api.PrependReactor("create", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("forbidden")
	})
	for range 50 {
		live, err := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.ensure(t.Context(), live, c.planOf(live))
	}
	writes := 0
	for _, w := range c.wrote() {
		if w == "update resourceclaims" {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("the same failure was written %d times, want once; events: %d", writes, len(c.said()))
	}
}

func TestDriverNamesTooLongForTheAPIAreRefused(t *testing.T) {
	// ResourceSlice.spec.driver and results have at most 63 characters (DriverNameMaxLength).
	if err := parse(t, "--leader-elect=false", "--driver-name="+strings.Repeat("d", 60)+".example").validate(); err == nil {
		t.Error("a driver name of 68 characters was taken")
	}
}

func TestTheReasonOfAFailureIsFoundAmongOthers(t *testing.T) {
	conflict := &problem{"NameConflict", errors.New("taken")}
	err := sideBySide(3, func(i int) error { return []error{nil, errors.New("first"), conflict}[i] })
	if got := reasonOf(err); got != "NameConflict" {
		t.Errorf("the reason is %s", got)
	}
	if got := err.Error(); got != "first; taken" {
		t.Errorf("the message is %q", got)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

// samples is how often something was measured, with the value of its only label.
func (n *node) samples(name, label, value string) uint64 {
	n.t.Helper()
	histogram, err := testutil.GetHistogramVecFromGatherer(n.metrics, name, map[string]string{label: value})
	if err != nil {
		return 0 // nothing with that value yet
	}
	return histogram.GetAggregatedSampleCount()
}

func TestCallsOfTheKubeletAreMeasured(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("a"), "account-uid"))
		bad := claimFor("a")
		bad.UID, bad.Status.Allocation = "another", nil
		if _, err := n.driver.PrepareResourceClaims(t.Context(), []*resourceapi.ResourceClaim{claim, bad}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{
			NamespacedName: types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}, UID: claim.UID,
		}}); err != nil {
			t.Fatal(err)
		}
		for _, want := range [][3]string{
			{"space_dra_prepare_duration_seconds", "result", "success"},
			{"space_dra_prepare_duration_seconds", "result", "failure"},
			{"space_dra_prepare_step_duration_seconds", "step", "wait"},
			{"space_dra_prepare_step_duration_seconds", "step", "token"},
			{"space_dra_prepare_step_duration_seconds", "step", "files"},
			{"space_dra_unprepare_duration_seconds", "result", "success"},
		} {
			if got := n.samples(want[0], want[1], want[2]); got != 1 {
				t.Errorf("%s of %s %s: measured %d times, want once", want[0], want[1], want[2], got)
			}
		}
	})
}

func TestTheFirstTokenToEndIsShown(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		if got := n.driver.keeper.tokens(); got.Known || got.Claims != 0 {
			t.Errorf("without a claim: %+v", got)
		}
		n.prepared("a")
		if got := n.driver.keeper.tokens(); !got.Known || got.Claims != 1 || got.Left != lifetime {
			t.Errorf("with a new token: %+v, want %s left", got, lifetime)
		}
		n.minter.failWith(errors.New("webhook says no"))
		<-time.After(lifetime + time.Second) // by the bubble's clock
		if got := n.driver.keeper.tokens(); got.Left != -time.Second {
			t.Errorf("after its end: %+v", got)
		}
		failed, err := n.driver.Metrics.Renewals.GetMetricWithLabelValues("failure")
		if err != nil {
			t.Fatal(err)
		}
		if count, err := testutil.GetCounterMetricValue(failed); err != nil || count == 0 {
			t.Errorf("counted %v failures, error %v", count, err)
		}
	})
}

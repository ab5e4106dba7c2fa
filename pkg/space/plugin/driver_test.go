// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestDriver_measuresCalls(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, claimFor("a"), "account-uid"))
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

func TestDriver_returnsAResultForEachClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		good := n.create(readyFor(t, claimFor("a"), "account-1"))
		bad := readyFor(t, claimFor("a"), "account-1")
		bad.UID, bad.Status.Allocation = "bad-uid", nil
		results, err := n.driver.PrepareResourceClaims(t.Context(), []*resourceapi.ResourceClaim{good, bad})
		n.must(err)
		if r := results[good.UID]; r.Err != nil || len(r.Devices) != 1 {
			t.Errorf("the good claim: got %+v", r)
		}
		if r := results[bad.UID]; r.Err == nil || len(results) != 2 {
			t.Errorf("the bad claim: got %+v", r)
		}

		// A claim with an empty UID cannot be removed.
		ended, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: ""}, {UID: good.UID}})
		n.must(err)
		if ended[""] == nil || ended[good.UID] != nil || len(ended) != 2 {
			t.Errorf("got %v, want an error for the claim without UID only", ended)
		}
		n.wantNoFiles()
	})
}

func TestStop_stopsRenewal(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		var requests atomic.Int64
		n.requester.intercept(func(ctx context.Context, _ token.Account) error {
			requests.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
		<-time.After(renewal + 10*time.Second)
		n.driver.Stop()
		if got := requests.Load(); got != 1 {
			t.Errorf("got %d token requests, want one before the stop", got)
		}
	})
}

func TestStart_renewsImmediately(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		restarted := time.Now()
		n.restart()
		m := n.awaitTokenRequest("the renewal at start")
		if took := m.at.Sub(restarted); took != 0 || m.account.UID != "account-1" {
			t.Errorf("renewed %s after the start for ServiceAccount UID %s", took, m.account.UID)
		}
		n.wantToken(claim, "", m.value)
		if next := n.awaitTokenRequest("the renewal after that"); next.at.Sub(m.at) != renewal {
			t.Errorf("renewed again after %s, want %s", next.at.Sub(m.at), renewal)
		}
		n.must(unprepareClaim(t.Context(), n.driver, claim.UID))
		n.wantNoTokenRequest("the claim was unprepared")
	})
}

func TestUnprepareResourceClaims_runsInParallel(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		_, unlock := mustLock(t, n.driver.locks, claimA)
		done := make(chan map[types.UID]error, 1)
		n.must(n.driver.specs.write(claimB, []specs.Device{specDevice("x")}))
		go func() {
			results, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: claimA}, {UID: claimB}})
			n.must(err)
			done <- results
		}()
		<-time.After(time.Second)
		n.wantFiles("cdi", 1) // that of the claim that is locked
		unlock()
		results := <-done
		if len(results) != 2 || results[claimA] != nil || results[claimB] != nil {
			t.Errorf("got %v", results)
		}
		n.wantNoFiles()
	})
}

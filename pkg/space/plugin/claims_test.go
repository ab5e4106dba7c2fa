// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
)

// large makes a claim so large that its parameters are stripped.
func large(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, "example.com/note", strings.Repeat("n", 1<<20))
	return claim
}

// stripped returns the part of a claim that a call of the kubelet gets.
func (n *node) stripped(claim *resourceapi.ResourceClaim) *resourceapi.ResourceClaim {
	n.t.Helper()
	got, err := n.driver.claims.forHelper().ResourceV1().ResourceClaims(claim.Namespace).Get(n.t.Context(), claim.Name, metav1.GetOptions{})
	n.must(err)
	return got
}

func TestClaimReader_stripsLargeClaims(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(large(readyFor(t, claimFor("a"), "account-1")))
		got := n.stripped(claim)
		if size := got.Size(); size > 2<<10 || allocation.FromClaim(got, testDriver).ID != allocation.FromClaim(claim, testDriver).ID {
			t.Errorf("got %d bytes, with allocation %+v", size, allocation.FromClaim(got, testDriver))
		}
	})
}

func TestClaimReader_limitsFullClaimsInMemory(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(claimFor("a"))
		name := types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
		var inUse atomic.Int32
		release, ended := make(chan struct{}), make(chan error)
		const all = 3 * maxReads
		for range all {
			go func() {
				ended <- n.driver.claims.read(t.Context(), name, func(*resourceapi.ResourceClaim) {
					inUse.Add(1)
					<-release
					inUse.Add(-1)
				})
			}()
		}
		synctest.Wait()
		if got := inUse.Load(); got != maxReads {
			t.Errorf("there are %d full claims in memory, want %d", got, maxReads)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.driver.claims.get(ctx, name); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), name.String()) {
			t.Errorf("the claim that waits: got error %v", err)
		}
		close(release)
		for range all {
			n.must(<-ended)
		}
	})
}

func TestPrepare_readsTheParametersOfALargeClaim(t *testing.T) {
	for name, outage := range map[string]time.Duration{"immediately": 0, "after an outage of the API server": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.stripped(n.create(large(readyFor(t, withClaimConfig(claimFor("a"), `,"inCluster":true`), "account-1"))))
				restore := func() {}
				if outage > 0 {
					restore = n.failGet(errors.New("no API server"))
				}
				time.AfterFunc(outage, func() { restore() })
				took, err := n.await(n.prepareInBackground(t.Context(), claim))
				n.must(err)
				if took > outage+2*rereadDelay {
					t.Errorf("it took %s", took)
				}
				n.wantInCluster(claim)
			})
		})
	}
}

// wantInCluster checks that containers have the variables of the parameter inCluster.
func (n *node) wantInCluster(claim *resourceapi.ResourceClaim) {
	n.t.Helper()
	id := testDriver + "/space=" + allocation.FromClaim(claim, testDriver).ID
	if env := n.containerEdits(id).Env; !slices.Contains(env, "KUBERNETES_SERVICE_HOST=10.96.0.1") {
		n.t.Errorf("containers have %q", env)
	}
}

func TestPrepare_reportsUnreadableParametersOfALargeClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.stripped(n.create(large(readyFor(t, claimFor("a"), "account-1"))))
		n.failGet(errors.New("no API server"))
		_, err := prepareClaim(t.Context(), n.driver, claim)
		if err == nil || !strings.Contains(err.Error(), "its parameters have not been read; the API server: no API server") {
			t.Errorf("got error %v", err)
		}
		n.wantNoFiles()
	})
}

func TestPrepare_rejectsAReallocatedLargeClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(large(readyFor(t, claimFor("a"), "account-1")))
		earlier := n.stripped(claim)
		claim.Status.Devices = nil
		claim.Status.Allocation.Devices.Results[0].Device = "another"
		n.update(readyFor(t, claim, "account-2"))
		if _, err := prepareClaim(t.Context(), n.driver, earlier); !errors.Is(err, errDeallocated) {
			t.Errorf("got error %v, want %v", err, errDeallocated)
		}
	})
}

func TestResync_recreatesARemovedSpecOfALargeClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.stripped(n.create(large(readyFor(t, withClaimConfig(claimFor("a"), `,"inCluster":true`), "account-1"))))
		_, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		n.must(os.RemoveAll(filepath.Join(n.dir, "cdi")))
		n.restart()
		for range 3 {
			n.resync()
		}
		n.wantInCluster(claim)
	})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/artifacts"
	"github.com/space-dra/space-dra-driver/pkg/space/cdi"
)

// Claims as the API server makes them have such UIDs.
const (
	claimA = types.UID("7791ecd8-b343-4545-821c-d5b05db2d590")
	claimB = types.UID("0f4b1d2c-9a8e-4c07-8d53-6f2e1b7a9c40")
)

// preparedAs is prepared with a UID that an API server could have made.
func (n *node) preparedAs(uid types.UID, requests ...string) *resourceapi.ResourceClaim {
	n.t.Helper()
	claim := claimFor(requests...)
	claim.UID = uid
	claim = n.create(readyWith(n.t, claim, "account-1"))
	_, err := n.driver.prepare(n.t.Context(), claim)
	n.must(err)
	for range requests {
		n.awaitMint("Prepare")
	}
	return claim
}

func (n *node) wantAllThere() {
	n.t.Helper()
	for _, below := range []string{"artifacts", "cdi", "records"} {
		n.wantFiles(below, 1)
	}
}

func (n *node) sweep() {
	n.t.Helper()
	synctest.Wait()
	n.driver.sweep(n.t.Context())
	synctest.Wait()
}

// failGet makes reading claims fail until the returned function is called.
func (n *node) failGet(err error) (mend func()) {
	fail := func() error { return err }
	n.onGet.Store(&fail)
	return func() { n.onGet.Store(nil) }
}

func TestWhatTheKubeletForgetsIsRemovedWhenTwoSweepsHaveSeenTheClaimEnd(t *testing.T) {
	for name, end := range map[string]func(n *node, claim *resourceapi.ResourceClaim){
		"deallocated": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = nil
			n.update(claim)
		},
		"allocated anew": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
			n.update(claim)
		},
		"deleted": func(n *node, claim *resourceapi.ResourceClaim) { n.remove(claim) },
		"another one of the name": func(n *node, claim *resourceapi.ResourceClaim) {
			n.remove(claim)
			claim.UID = claimB
			n.create(claim)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				end(n, n.preparedAs(claimA, "a", "b").DeepCopy())
				n.sweep()
				n.wantAllThere()
				n.sweep()
				n.wantNothingLeft()
				n.sweep()
				n.wantNothingLeft()
			})
		})
	}
}

func TestASweepDoesNotTrustAnAPIServerThatDoesNotKnow(t *testing.T) {
	claims := schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	for name, err := range map[string]error{
		"no answer":     errors.New("no API server"),
		"not allowed":   apierrors.NewForbidden(claims, "x", nil),
		"not served":    apierrors.NewGenericServerResponse(http.StatusNotFound, "get", claims, "x", "404 page not found", 0, true),
		"too much work": apierrors.NewTooManyRequests("later", 1),
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				n.remove(n.preparedAs(claimA, "a"))
				n.sweep() // the claim is suspected
				mend := n.failGet(err)
				for range 5 {
					n.sweep()
				}
				n.wantAllThere()
				mend()
				n.sweep() // two in a row it must be
				n.wantAllThere()
				n.sweep()
				n.wantNothingLeft()
			})
		})
	}
}

func TestASweepCostsNothingForAClaimThatIsFollowed(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		synctest.Wait()
		n.client.ClearActions()
		for range 3 {
			n.sweep()
		}
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("the API server was asked: %v", actions)
		}
		n.wantAllThere()
	})
}

func TestASweepLeavesAClaimThatWasPreparedAnew(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a").DeepCopy()
		claim.Status.Devices = nil
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		claim = n.update(readyWith(t, claim, "account-2"))
		n.sweep()
		_, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		n.awaitMint("Prepare")
		n.sweep()
		n.sweep()
		n.wantAllThere()
		if m := n.awaitMint("renewal"); m.account.UID != "account-2" {
			t.Errorf("renewed for %+v", m.account)
		}
	})
}

func TestASweepDoesNotGetInTheWayOfACall(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.remove(n.preparedAs(claimA, "a"))
		n.must(n.driver.Artifacts.Write(claimB, "", artifacts.Files{}))
		n.sweep()
		_, unlockA := take(t, n.driver.locks, claimA)
		n.must(n.driver.Artifacts.Write(claimB, "", artifacts.Files{}))
		_, unlockB := take(t, n.driver.locks, claimB)
		n.sweep()
		n.wantFiles("artifacts", 2)
		n.wantFiles("records", 1)
		unlockA()
		unlockB()
		n.sweep()
		n.wantNothingLeft()
	})
}

func TestWhatHasNoRecordIsRemovedIfItIsOurs(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		devices := []cdi.Device{{Name: "x", Env: []string{"A=b"}}}
		other, err := cdi.NewStore("gpu.example.com", filepath.Join(n.dir, "cdi"))
		n.must(err)
		n.must(other.Write(claimB, devices))
		n.must(n.driver.Specs.Write("by-hand", devices))
		n.must(n.driver.Artifacts.Write("by-hand", "", artifacts.Files{}))
		n.must(os.WriteFile(filepath.Join(n.dir, "artifacts", string(claimB)+".txt"), nil, 0o600))
		keep := n.files()

		n.must(n.driver.Artifacts.Write(claimB, "slot", artifacts.Files{}))
		n.must(n.driver.Specs.Write(claimB, devices))
		n.sweep()
		if now := n.files(); !slices.Equal(now, keep) {
			t.Errorf("left:\n%q\nwant:\n%q", now, keep)
		}
	})
}

// files returns all files of the node.
func (n *node) files() []string {
	n.t.Helper()
	var out []string
	n.must(filepath.WalkDir(n.dir, func(path string, e os.DirEntry, err error) error {
		out = append(out, path)
		return err
	}))
	return out
}

func TestStart_removesWhatAKilledProcessWasWriting(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a", "b")
		keep := n.files()
		// The lock of a process that was killed is free.
		for _, name := range []string{"records/.staging/1/2", "artifacts/.staging/1/2", "cdi/." + testDriver + "/1/spec.2.tmp"} {
			path := filepath.Join(n.dir, name)
			n.must(os.Mkdir(filepath.Dir(path), 0o700))
			n.must(os.WriteFile(path, []byte("half"), 0o600))
		}
		n.wantNoEvent(2 * abandonedInterval)
		if now := n.files(); !slices.Equal(now, keep) {
			t.Errorf("left:\n%q\nwant:\n%q", now, keep)
		}
	})
}

func TestASweepThatHangsIsFoundOut(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		n.wantNoEvent(sweepInterval)
		if err := n.driver.stuck(); err != nil {
			t.Errorf("all is well, but: %v", err)
		}
		n.remove(claim)
		hang := func() error {
			<-time.After(longTime)
			return errors.New("no API server")
		}
		n.onGet.Store(&hang)
		n.wantNoEvent(stuckAfter + 2*sweepInterval)
		if n.driver.stuck() == nil {
			t.Error("nobody has noticed")
		}
	})
}

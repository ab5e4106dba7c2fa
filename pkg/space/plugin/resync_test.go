// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/utils/ptr"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/metrics"
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
	for _, below := range []string{"artifacts", "cdi"} {
		n.wantFiles(below, 1)
	}
}

// resync waits until a resync has taken place.
func (n *node) resync() {
	<-time.After(resyncInterval)
	synctest.Wait()
}

// awaitUnprepare waits for as long as the kubelet has to unprepare a claim that ended.
func (n *node) awaitUnprepare() {
	<-time.After(unprepareTimeout - time.Second)
	synctest.Wait()
}

// failGet makes reading claims fail until the returned function is called.
func (n *node) failGet(err error) (recover func()) {
	fail := func() error { return err }
	n.onGet.Store(&fail)
	return func() { n.onGet.Store(nil) }
}

func TestResync_removesAClaimThatEndedAndIsNotUnprepared(t *testing.T) {
	for name, end := range map[string]func(n *node, claim *resourceapi.ResourceClaim){
		"deallocated": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = nil
			n.update(claim)
		},
		"allocated again": func(n *node, claim *resourceapi.ResourceClaim) {
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
				n.awaitUnprepare()
				n.wantAllThere()
				n.resync()
				n.wantNothingLeft()
				n.resync()
				n.wantNothingLeft()
			})
		})
	}
}

func TestResync_doesNotTrustAnAPIServerThatDoesNotKnow(t *testing.T) {
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
				recover := n.failGet(err)
				n.awaitUnprepare()
				for range 5 {
					n.resync()
				}
				n.wantAllThere()
				recover()
				n.resync()
				n.wantNothingLeft()
			})
		})
	}
}

func TestResync_readsNoClaimThatIsWatched(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		synctest.Wait()
		n.client.ClearActions()
		for range 3 {
			n.resync()
		}
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("the API server was asked: %v", actions)
		}
		n.wantAllThere()
	})
}

func TestResync_leavesAClaimThatWasPreparedAgain(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a").DeepCopy()
		claim.Status.Devices = nil
		claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
		claim = n.update(readyWith(t, claim, "account-2"))
		n.resync()
		_, err := n.driver.prepare(t.Context(), claim)
		n.must(err)
		n.awaitMint("Prepare")
		n.awaitUnprepare()
		n.resync()
		n.wantAllThere()
		if m := n.awaitMint("renewal"); m.account.UID != "account-2" {
			t.Errorf("renewed for %+v", m.account)
		}
	})
}

func TestResync_doesNotDisturbACall(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.remove(n.preparedAs(claimA, "a"))
		_, unlockA := take(t, n.driver.locks, claimA)
		_, unlockB := take(t, n.driver.locks, claimB)
		n.must(n.driver.specs.write(claimB, []specs.Device{specDevice("x")}))
		n.awaitUnprepare()
		n.resync()
		n.wantFiles("artifacts", 1)
		n.wantFiles("cdi", 2)
		unlockA()
		unlockB()
		n.resync()
		n.wantNothingLeft()
	})
}

func TestResync_removesOrphanedSpecs(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		devices := []specs.Device{specDevice("x")}
		other, err := openCDISpecs("gpu.example.com", filepath.Join(n.dir, "cdi"))
		n.must(err)
		n.must(other.write(claimB, devices))
		n.must(os.WriteFile(filepath.Join(n.dir, "artifacts", string(claimB)+".txt"), nil, 0o600))
		n.resync()
		keep := n.files()

		n.must(n.driver.specs.write(claimB, devices))
		n.resync()
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
		for _, name := range []string{"artifacts/.staging/1/2", "artifacts/.staging/3", "cdi/." + testDriver + "/1/spec.2.tmp"} {
			path := filepath.Join(n.dir, name)
			n.must(os.MkdirAll(filepath.Dir(path), 0o700))
			n.must(os.WriteFile(path, []byte("half"), 0o600))
		}
		n.resync()
		if now := n.files(); !slices.Equal(now, keep) {
			t.Errorf("left:\n%q\nwant:\n%q", now, keep)
		}
	})
}

// damageMetadata cuts the metadata of claimA off.
func (n *node) damageMetadata() {
	n.t.Helper()
	path := filepath.Join(n.dir, "artifacts", string(claimA), metadataFile)
	content, err := os.ReadFile(path)
	n.must(err)
	n.must(os.WriteFile(path, content[:len(content)/2], 0o600))
}

func TestResync_repairsMetadataOfAClaimThatItKnows(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		want, err := n.driver.store.get(claimA)
		n.must(err)
		n.damageMetadata()
		synctest.Wait()
		n.client.ClearActions()
		n.resync()
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("the API server was asked: %v", actions)
		}
		if got, err := n.driver.store.get(claimA); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, error %v, want %+v", got, err, want)
		}
		n.awaitMint("renewal")
	})
}

func TestResync_leavesDamagedMetadataToTheKubelet(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		n.driver.Stop()
		n.damageMetadata()
		n.start()
		n.wantNoMint("nothing is known of the claim")
		n.wantAllThere()
		if got := n.corrections(metrics.FoundDamaged); got != 1 {
			t.Errorf("reported %v times, want once", got)
		}
		n.wantRenewedAfterPrepare(claim)

		n.driver.Stop()
		n.damageMetadata()
		n.start()
		n.wantNoMint("nothing is known of the claim")
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNothingLeft()
	})
}

func (n *node) corrections(kind string) float64 {
	n.t.Helper()
	counter, err := n.driver.Metrics.Corrections.GetMetricWithLabelValues(kind)
	n.must(err)
	count, err := testutil.GetCounterMetricValue(counter)
	n.must(err)
	return count
}

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
		n.resync()
		if c := n.driver.tokens.get(claim.UID); c != nil {
			t.Error("a claim that was removed is still renewed")
		}
	})
}

func TestAClaimThatWasGivenUpIsNotTakenOverAgain(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		p := preparedClaim{Namespace: "team", Name: "gone", UID: "gone-uid", AllocationID: "x"}
		n.must(n.driver.store.put(p, nil))
		for range 3 {
			n.resync() // the claim does not exist, which the watch finds
			if n.driver.tokens.get(p.UID) != nil {
				t.Error("its tokens are renewed")
			}
		}
		n.wantNoMint("the claim is gone")
	})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/record"
)

// damage changes the record of claimA on disk.
func (n *node) damage(change func(string) string) {
	n.t.Helper()
	path := filepath.Join(n.dir, "records", string(claimA)+".json")
	content, err := os.ReadFile(path)
	n.must(err)
	damaged := change(string(content))
	if damaged == string(content) {
		n.t.Fatal("nothing was damaged")
	}
	n.must(os.WriteFile(path, []byte(damaged), 0o600))
}

func newer(content string) string {
	return strings.Replace(content, record.APIVersion, "plugin.space.resource.example.com/v2", 1)
}

// truncated still has the claim's name, and no spaces.
func truncated(content string) string {
	before, _, _ := strings.Cut(content, `"spaces"`)
	return before
}

func empty(string) string { return "" }

func TestARecordThatCannotBeReadIsMadeAnewFromTheClaim(t *testing.T) {
	for name, change := range map[string]func(string) string{"newer": newer, "truncated": truncated} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.preparedAs(claimA, "a", "b")
				want, err := n.driver.Records.Get(claimA)
				n.must(err)
				n.driver.Stop()
				n.damage(change)
				start := time.Now()
				n.start()
				for range 2 {
					if m := n.awaitMint("renewal with the new record"); m.at != start || m.account.UID != "account-1" {
						t.Errorf("after %s for %+v", m.at.Sub(start), m.account)
					}
				}
				synctest.Wait()
				got, err := n.driver.Records.Get(claimA)
				n.must(err)
				if got.AllocationID != want.AllocationID || len(got.Spaces) != 2 || got.Spaces[1] != want.Spaces[1] {
					t.Errorf("got record\n%+v, want\n%+v", got, want)
				}
				n.wantFiles("records", 1)
				if m := n.awaitMint("the renewal after that"); m.at.Sub(start) != renewal {
					t.Errorf("renewed again after %s", m.at.Sub(start))
				}
				n.must(n.driver.unprepare(t.Context(), claim.UID))
				n.wantNothingLeft()
			})
		})
	}
}

func TestARecordIsMadeAnewOnceTheAPIServerAnswers(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		n.driver.Stop()
		n.damage(truncated)
		mend := n.failGet(errors.New("no API server"))
		n.start()
		n.wantNoMint("nothing is known of the claim")
		n.wantAllThere()
		mend()
		mended := time.Now()
		if took := n.awaitMint("renewal with the new record").at.Sub(mended); took > sweepInterval {
			t.Errorf("it took %s", took)
		}
	})
}

func TestARunningPluginMakesARecordAnewByItself(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		n.damage(empty)
		synctest.Wait()
		n.client.ClearActions()
		n.sweep()
		if actions := n.client.Actions(); len(actions) > 0 {
			t.Errorf("the API server was asked: %v", actions)
		}
		p, err := n.driver.Records.Get(claimA)
		if err != nil || len(p.Spaces) != 1 {
			t.Errorf("got record %+v, error %v", p, err)
		}
		n.wantFiles("records", 1)
		n.awaitMint("renewal")
	})
}

func TestAClaimWhoseRecordIsLostKeepsItsFilesUntilTheKubeletUnpreparesIt(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		n.driver.Stop()
		n.damage(empty)
		n.start()
		n.wantNoMint("nothing is known of the claim")
		n.wantAllThere()

		// It can be prepared again, as new.
		n.wantRenewedAfterPrepare(claim)
		n.wantFiles("records", 1)
		n.driver.Stop()
		n.damage(empty)
		n.start()
		n.wantNoMint("nothing is known of the claim")
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNothingLeft()
	})
}

func TestAClaimThatEndedIsNotRecoveredButRemoved(t *testing.T) {
	for name, end := range map[string]func(n *node, claim *resourceapi.ResourceClaim){
		"deallocated": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = nil
			n.update(claim)
		},
		"deleted": func(n *node, claim *resourceapi.ResourceClaim) { n.remove(claim) },
		"allocated anew, and another space is ready": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Devices = nil
			claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
			n.update(readyWith(n.t, claim, "account-2"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.preparedAs(claimA, "a")
				n.driver.Stop()
				n.damage(truncated)
				end(n, claim.DeepCopy())
				n.start()
				synctest.Wait()
				n.wantAllThere() // one sweep is not enough
				n.sweep()
				n.wantNothingLeft()
				n.wantNoMint("the allocation has ended")
			})
		})
	}
}

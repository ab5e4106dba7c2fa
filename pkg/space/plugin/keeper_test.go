// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// prepared returns a claim that is ready and was prepared just now.
func (n *node) prepared(requests ...string) *resourceapi.ResourceClaim {
	n.t.Helper()
	claim := n.create(readyWith(n.t, claimFor(requests...), "account-1"))
	_, err := n.driver.prepare(n.t.Context(), claim)
	n.must(err)
	for range requests {
		n.awaitMint("Prepare")
	}
	return claim
}

func TestTokensAreRenewedAtTwoThirdsOfTheirLife(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		start := time.Now()
		claim := n.prepared("a")
		n.wantToken(claim, "", "token-1")
		for i := 1; i <= 3; i++ {
			m := n.awaitMint("renewal")
			if got, want := m.at.Sub(start), time.Duration(i)*renewal; got != want {
				t.Errorf("renewal %d was %s after the first token, want %s", i, got, want)
			}
			if m.account.UID != "account-1" || m.account.Name != "space" {
				t.Errorf("renewal %d was for %+v", i, m.account)
			}
			n.wantToken(claim, "", m.value)
		}
	})
}

func TestAllTokensOfAClaimAreRenewed(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a", "b")
		byNamespace := map[string]string{}
		for range 2 {
			m := n.awaitMint("renewal of two spaces")
			byNamespace[m.account.Namespace] = m.value
		}
		synctest.Wait()
		p, err := n.driver.store.get(claim.UID)
		n.must(err)
		for _, space := range p.Spaces {
			n.wantToken(claim, space.Dir, byNamespace[space.Namespace])
		}
	})
}

func TestAFailedRenewalIsTriedAgainEverMoreSlowly(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		fail := func(times int, want []time.Duration) {
			t.Helper()
			n.minter.failWith(errors.New("no API server"))
			last := n.awaitMint("renewal").at
			for i := range times {
				at := n.awaitMint("another try").at
				if i < len(want) && at.Sub(last) != want[i] {
					t.Errorf("try %d was after %s, want %s", i, at.Sub(last), want[i])
				}
				if i >= len(want) && at.Sub(last) != lastRetry {
					t.Errorf("try %d was after %s, want %s", i, at.Sub(last), lastRetry)
				}
				last = at
			}
			n.minter.failWith(nil)
			recovered := n.awaitMint("the try that works")
			n.wantToken(claim, "", recovered.value)
			next := n.awaitMint("renewal after recovery")
			if got := next.at.Sub(recovered.at); got != renewal {
				t.Errorf("the next renewal was %s after the recovery, want %s", got, renewal)
			}
		}
		inOrder := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}
		fail(9, inOrder)
		fail(3, inOrder) // a recovery makes the next failure a first one
	})
}

func TestATokenIsReplacedAtOnceWhenTheServiceAccountIsAnother(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		repaired := time.Now()
		claim = n.update(readyWith(t, claim, "account-2"))
		m := n.awaitMint("renewal for the new ServiceAccount")
		if m.account.UID != "account-2" {
			t.Errorf("the token is for ServiceAccount UID %s, want account-2", m.account.UID)
		}
		if took := m.at.Sub(repaired); took != 0 {
			t.Errorf("it took %s", took)
		}
		n.wantToken(claim, "", m.value)
		if next := n.awaitMint("the renewal after that"); next.account.UID != "account-2" || next.at.Sub(m.at) > renewal {
			t.Errorf("the next renewal is after %s for UID %s", next.at.Sub(m.at), next.account.UID)
		}
	})
}

func TestAReplacedServiceAccountIsNoticedThroughFailures(t *testing.T) {
	for name, breakIt := range map[string]func(n *node){
		"the watch ended": func(n *node) {
			broken := watch.NewFake()
			n.client.PrependWatchReactor("resourceclaims", once(func() (watch.Interface, error) { return broken, nil }))
			n.prepared("a")
			synctest.Wait()
			broken.Stop()
		},
		"the watch said that it is too old": func(n *node) {
			broken := watch.NewFakeWithChanSize(1, false)
			broken.Error(&resourceapi.ResourceClaimList{}) // any object that is no claim
			n.client.PrependWatchReactor("resourceclaims", once(func() (watch.Interface, error) { return broken, nil }))
			n.prepared("a")
		},
		"the watch could not begin": func(n *node) {
			n.client.PrependWatchReactor("resourceclaims", once(func() (watch.Interface, error) { return nil, errors.New("no API server") }))
			n.prepared("a")
		},
		"the plugin started while the API server was away": func(n *node) {
			n.prepared("a")
			left := 5
			n.client.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
				left--
				return left >= 0, nil, errors.New("no API server")
			})
			n.restart()
			n.awaitMint("the renewal at start")
		},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				breakIt(n)
				claim := n.update(readyWith(t, claimFor("a"), "account-2"))
				broken := time.Now()
				m := n.awaitMint("renewal for the new ServiceAccount")
				if took := m.at.Sub(broken); m.account.UID != "account-2" || took > time.Minute {
					t.Errorf("after %s there was a token for ServiceAccount UID %s", took, m.account.UID)
				}
				n.wantToken(claim, "", m.value)
			})
		})
	}
}

// once lets the first watch be one that the test made.
func once(first func() (watch.Interface, error)) clienttesting.WatchReactionFunc {
	used := false
	return func(clienttesting.Action) (bool, watch.Interface, error) {
		if used {
			return false, nil, nil
		}
		used = true
		w, err := first()
		return true, w, err
	}
}

func TestNothingIsRenewedForADeallocatedClaim(t *testing.T) {
	for name, deallocate := range map[string]func(n *node, claim *resourceapi.ResourceClaim){
		"deallocated": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation = nil
			n.update(claim)
		},
		"allocated anew": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation.Devices.Results[0].ShareID = ptr.To(types.UID("other"))
			n.update(claim)
		},
		"deleted": func(n *node, claim *resourceapi.ResourceClaim) { n.remove(claim) },
		"another claim of the name, seen by the watch": func(n *node, claim *resourceapi.ResourceClaim) {
			claim.UID = "other"
			n.update(claim)
		},
		"deleted before the plugin started": func(n *node, claim *resourceapi.ResourceClaim) {
			n.driver.Stop()
			n.remove(claim)
			n.start()
		},
		"another claim of the name before the plugin started": func(n *node, claim *resourceapi.ResourceClaim) {
			n.driver.Stop()
			n.remove(claim)
			claim.UID = "other"
			n.create(claim)
			n.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.prepared("a")
				deallocate(n, claim.DeepCopy())
				// They go when the kubelet has ended the pods.
				n.wantFiles("artifacts", 1)
				n.wantNoMint("the claim was deallocated")
				// It had a day for that.
				n.wantNothingLeft()
			})
		})
	}
}

func TestRenewingEndsWhenTheCredentialsWereRemoved(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		n.must(os.RemoveAll(n.driver.store.credentialsPath(claim.UID, "")))
		n.awaitMint("the renewal that notices")
		n.wantNoMint("the credentials were removed")

		// Prepared again, it is looked after again.
		n.wantRenewedAfterPrepare(claim)
	})
}

func (n *node) wantRenewedAfterPrepare(claim *resourceapi.ResourceClaim) {
	n.t.Helper()
	_, err := n.driver.prepare(n.t.Context(), claim)
	n.must(err)
	first := n.awaitMint("Prepare")
	if next := n.awaitMint("renewal"); next.at.Sub(first.at) != renewal {
		n.t.Errorf("renewed after %s, want %s", next.at.Sub(first.at), renewal)
	}
}

func TestNothingIsRenewedAfterUnprepare(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNoMint("the claim was unprepared")
		n.wantRenewedAfterPrepare(claim)
	})
}

func TestAPluginThatIsStoppedAsksForNoMoreTokens(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		// The clock is looked at once a minute, and thus while the API server
		// owes an answer.
		<-time.After(wallInterval - 5*time.Second)
		n.prepared("a")
		var asked atomic.Int64
		n.minter.askFirst(func(ctx context.Context, _ token.Account) error {
			asked.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
		<-time.After(renewal + 10*time.Second)
		n.driver.Stop()
		if got := asked.Load(); got != 1 {
			t.Errorf("a token was asked for %d times, once before the stop", got)
		}
	})
}

func TestARestartedPluginRenewsAtOnceAndGoesOn(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		restarted := time.Now()
		n.restart()
		m := n.awaitMint("the renewal at start")
		if took := m.at.Sub(restarted); took != 0 || m.account.UID != "account-1" {
			t.Errorf("renewed %s after the start for ServiceAccount UID %s", took, m.account.UID)
		}
		n.wantToken(claim, "", m.value)
		if next := n.awaitMint("the renewal after that"); next.at.Sub(m.at) != renewal {
			t.Errorf("renewed again after %s, want %s", next.at.Sub(m.at), renewal)
		}
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.wantNoMint("the claim was unprepared")
	})
}

func TestARestartedPluginForgetsWhatWasUnprepared(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		n.must(n.driver.unprepare(t.Context(), claim.UID))
		n.restart()
		n.wantNoMint("the claim was unprepared before")
	})
}

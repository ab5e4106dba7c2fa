// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/utils/ptr"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
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
			n.wantToken(claim, space.Subdir, byNamespace[space.Namespace])
		}
	})
}

func TestAFailedRenewalIsTriedAgainEverMoreSlowly(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		fail := func(times int, want []time.Duration) {
			t.Helper()
			n.requester.failWith(errors.New("no API server"))
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
			n.requester.failWith(nil)
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
		n.requester.askFirst(func(ctx context.Context, _ token.Account) error {
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

func TestASpaceWhoseTokensAreRefusedDoesNotKeepTheOthersFromTheirs(t *testing.T) {
	for i, name := range []string{"the first is refused", "the second is refused"} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.prepared("a", "b")
				shares := allocation.FromClaim(claim, testDriver).Results
				bad, good := shares[i], shares[1-i]
				var mended atomic.Bool
				var badTries atomic.Int64
				n.requester.askFirst(func(_ context.Context, account token.Account) error {
					if account.Namespace == bad.NamespaceName("ns-") && !mended.Load() {
						badTries.Add(1)
						return errors.New("the account is being deleted")
					}
					return nil
				})
				start := time.Now()
				before := n.tokenIn(claim, bad.Subdir)
				for try := 1; try <= 3; try++ {
					m := n.awaitMint("renewal of the other space")
					// The other one is not renewed with each try for the one that fails.
					if got, want := m.at.Sub(start), time.Duration(try)*renewal; m.account.Namespace != good.NamespaceName("ns-") || got < want-lastRetry || got > want {
						t.Errorf("renewal %d was for %+v after %s, want about %s", try, m.account, got, want)
					}
					n.wantToken(claim, good.Subdir, m.value)
				}
				n.wantToken(claim, bad.Subdir, before)
				// After the first minute there is one try a minute.
				if tries := badTries.Load(); tries < 60 || tries > int64(3*renewal/lastRetry) {
					t.Errorf("the one that fails was tried %d times in %s", tries, time.Since(start))
				}
				e, _ := n.awaitEvent()
				for _, part := range []string{spaceapi.ReasonTokenRenewalFailed, "the account is being deleted"} {
					if !strings.Contains(e, part) {
						t.Errorf("the event does not say %q: %s", part, e)
					}
				}

				mended.Store(true)
				at := time.Now()
				m := n.awaitMint("the token that is granted again")
				if took := m.at.Sub(at); m.account.Namespace != bad.NamespaceName("ns-") || took > lastRetry {
					t.Errorf("after %s there was a token for %+v", took, m.account)
				}
				n.wantToken(claim, bad.Subdir, m.value)
				for len(n.events.Events) > 0 {
					<-n.events.Events
				}
				n.wantNoEvent(longTime)
			})
		})
	}
}

// tokenIn is the token that containers read.
func (n *node) tokenIn(claim *resourceapi.ResourceClaim, slot string) string {
	n.t.Helper()
	synctest.Wait()
	content, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, slot), "token"))
	n.must(err)
	return string(content)
}

func TestASpaceWhoseTokenIsNotAnsweredDoesNotTakeTheTimeOfTheOthers(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a", "b")
		shares := allocation.FromClaim(claim, testDriver).Results
		n.requester.askFirst(func(ctx context.Context, account token.Account) error {
			if account.Namespace == shares[0].NamespaceName("ns-") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		m := n.awaitMint("renewal of the other space")
		<-time.After(requestTimeout)
		n.wantToken(claim, shares[1].Subdir, m.value)
	})
}

func TestWhatIsNoticedAtOnceIsRenewedOnce(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		requests := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
		claim := n.prepared(requests...)
		n.driver.Stop()
		n.update(readyWith(t, claim, "account-2"))
		// It has not seen the claim before, and the ServiceAccounts are others.
		n.start()
		synctest.Wait()
		if got := len(n.requester.calls); got != len(requests) {
			t.Errorf("%d tokens were asked for at the start, want %d", got, len(requests))
		}
		n.update(readyWith(t, claim, "account-3"))
		if got := len(n.requester.calls); got != 2*len(requests) {
			t.Errorf("%d tokens were asked for after the change, want %d", got, 2*len(requests))
		}
	})
}

// A token lives an hour and is renewed after 40 minutes; 20 are left for failing.
func TestTokensOutliveAnOutageOfUpToAThirdOfTheirLife(t *testing.T) {
	for _, test := range []struct{ from, to time.Duration }{
		{renewal - time.Second, renewal + 5*time.Minute},
		{renewal - 2*time.Second, lifetime - time.Minute},
		{renewal - time.Minute, lifetime - 5*time.Second},
	} {
		t.Run(test.to.String(), func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				n.prepared("a")
				start := time.Now()
				<-time.After(test.from)
				n.requester.failWith(errors.New("no API server"))
				<-time.After(test.to - test.from)
				n.requester.failWith(nil)
				if at := n.awaitSuccess().at.Sub(start); at >= lifetime || at < test.to {
					t.Errorf("the next token was there after %s of %s", at, lifetime)
				}
			})
		})
	}
}

func TestAfterALongOutageTokensAreThereWithinTheLongestDelay(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		n.requester.failWith(errors.New("no API server"))
		<-time.After(5 * lifetime)
		n.requester.failWith(nil)
		mended := time.Now()
		if took := n.awaitSuccess().at.Sub(mended); took > lastRetry {
			t.Errorf("it took %s", took)
		}
	})
}

func TestWhenTheNodesClockIsSetAheadTokensAreRenewedOnce(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		<-time.After(renewal / 4)
		n.wallAhead.Store(int64(24 * time.Hour))
		set := time.Now()
		m := n.awaitMint("the renewal after the jump")
		if took := m.at.Sub(set); took > wallInterval {
			t.Errorf("it took %s", took)
		}
		n.wantToken(claim, "", m.value)
		for range 3 {
			next := n.awaitMint("a renewal as usual")
			if got := next.at.Sub(m.at); got != renewal {
				t.Errorf("the next renewal was after %s, want %s", got, renewal)
			}
			m = next
		}
	})
}

func TestWhenTheNodesClockIsPutBackTokensAreRenewedInTime(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		start := time.Now()
		<-time.After(renewal / 4)
		n.wallAhead.Store(int64(-24 * time.Hour))
		for i := 1; i <= 3; i++ {
			if got, want := n.awaitMint("renewal").at.Sub(start), time.Duration(i)*renewal; got != want {
				t.Errorf("renewal %d was after %s, want %s", i, got, want)
			}
		}
	})
}

func TestASetClockDoesNotHurryRenewalsThatFail(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		n.requester.failWith(errors.New("no API server"))
		n.wallAhead.Store(int64(24 * time.Hour))
		const during = time.Hour
		<-time.After(during)
		if tries := len(n.requester.calls); tries > int(during/lastRetry)+20 {
			t.Errorf("%d tries in %s", tries, during)
		}
		n.requester.failWith(nil)
		n.awaitSuccess()
	})
}

func (n *node) wantNoEvent(during time.Duration) {
	n.t.Helper()
	select {
	case e := <-n.events.Events:
		n.t.Errorf("there is event %q", e)
	case <-time.After(during):
	}
}

// awaitEvent waits for an event and says how long that took.
func (n *node) awaitEvent() (string, time.Duration) {
	n.t.Helper()
	start := time.Now()
	select {
	case e := <-n.events.Events:
		return e, time.Since(start)
	case <-time.After(longTime):
		n.t.Fatalf("waited %s for an event", longTime)
		return "", 0
	}
}

func TestUsersHearOfARenewalThatGoesOnFailing(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		for range 2 { // after a success it begins again
			n.requester.failWith(errors.New("webhook says no"))
			n.wantNoEvent(renewal - time.Second)
			e, took := n.awaitEvent()
			if took < eventAfter || took > 2*eventAfter {
				t.Errorf("it took %s, want a bit more than %s", took, eventAfter)
			}
			for _, part := range []string{"Warning", spaceapi.ReasonTokenRenewalFailed, "node-7", "webhook says no"} {
				if !strings.Contains(e, part) {
					t.Errorf("the event does not say %q: %s", part, e)
				}
			}
			if _, took := n.awaitEvent(); took < eventInterval || took > eventInterval+lastRetry {
				t.Errorf("told again after %s, want %s", took, eventInterval)
			}
			n.requester.failWith(nil)
			n.awaitSuccess()
		}
		n.wantNoEvent(longTime)
	})
}

// awaitSuccess waits for a token that was got.
func (n *node) awaitSuccess() tokenRequest {
	n.t.Helper()
	for {
		if m := n.awaitMint("a token"); m.value != "" {
			return m
		}
	}
}

func TestAShortOutageIsNoEvent(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		n.requester.failWith(errors.New("no API server"))
		n.wantNoEvent(renewal + eventAfter/2)
		n.requester.failWith(nil)
		n.awaitSuccess()
		n.wantNoEvent(longTime)
	})
}

func TestNothingIsRenewedForASpaceThatExpired(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		claim = n.update(notReadyBecause(t, claim, spaceapi.ReasonExpired, "it lived for 8h0m0s"))
		n.wantNoMint("the space expired")
		n.restart()
		n.wantNoMint("the space expired before the plugin started")
		n.wantNoEvent(time.Second)
		// Its pods may still run.
		n.wantAllThere()

		claim.Status.Allocation = nil
		n.update(claim)
		n.awaitUnprepare()
		n.resync()
		n.wantNothingLeft()
	})
}

func TestOfTwoSpacesTheOneThatLivesIsRenewed(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a", "b")
		a := allocation.FromClaim(claim, testDriver)
		n.update(apply(t, claim, []claimstatus.Entry{{Share: a.Results[0], Ready: metav1.Condition{
			Status: metav1.ConditionFalse, Reason: spaceapi.ReasonExpired,
		}}}))
		for range 3 {
			if m := n.awaitMint("renewal"); m.account.Namespace != a.Results[1].NamespaceName("ns-") {
				t.Errorf("a token was asked for in %s", m.account.Namespace)
			}
		}
	})
}

func TestPrepareFailsAtOnceForASpaceThatExpired(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(notReadyBecause(t, claimFor("a"), spaceapi.ReasonExpired, "it lived for 8h0m0s"))
		took, err := n.await(n.prepareInBackground(t.Context(), claim))
		if err == nil || !strings.Contains(err.Error(), "Expired: it lived for 8h0m0s") || took != 0 {
			t.Errorf("after %s, got error %v", took, err)
		}
		n.wantNothingLeft()
	})
}

func TestTheMetadataFollowTheServiceAccount(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		claim = n.update(readyWith(t, claim, "account-2"))
		n.awaitMint("renewal for the new ServiceAccount")
		n.wantToken(claim, "", "token-2")
		p, err := n.driver.store.get(claimA)
		if err != nil || p.Spaces[0].ServiceAccountUID != "account-2" {
			t.Errorf("the metadata say %+v, error %v", p, err)
		}

		// The plugin asks first also when it has not been there.
		n.driver.Stop()
		n.update(readyWith(t, claim, "account-3"))
		n.start()
		if m := n.awaitMint("the renewal at start"); m.account.UID != "account-3" {
			t.Errorf("the first token is for %s", m.account.UID)
		}
	})
}

func TestPrepareWritesNothingForACallThatHasEnded(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyWith(t, claimFor("a"), "account-1"))
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the kubelet hung up")
		// The call ends when the last answer of the API server has come.
		n.driver.TokenRequester = tokenRequesterFunc(func(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error) {
			tok, err := n.requester.Request(ctx, account, lifetime)
			cancel(cause)
			return tok, err
		})
		if _, err := n.driver.prepare(ctx, claim); !errors.Is(err, cause) {
			t.Errorf("got error %v, want %v", err, cause)
		}
		n.wantNothingLeft()
	})
}

type tokenRequesterFunc func(context.Context, token.Account, time.Duration) (token.Token, error)

func (f tokenRequesterFunc) Request(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error) {
	return f(ctx, account, lifetime)
}

func TestClaimsAreUnpreparedSideBySide(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		_, unlock := take(t, n.driver.locks, claimA)
		done := make(chan map[types.UID]error, 1)
		n.must(n.driver.specs.write(claimB, []specs.Device{specDevice("x")}))
		go func() {
			results, err := n.driver.UnprepareResourceClaims(t.Context(), []kubeletplugin.NamespacedObject{{UID: claimA}, {UID: claimB}})
			n.must(err)
			done <- results
		}()
		<-time.After(time.Second)
		n.wantFiles("cdi", 1) // that of the one that has to wait
		unlock()
		results := <-done
		if len(results) != 2 || results[claimA] != nil || results[claimB] != nil {
			t.Errorf("got %v", results)
		}
		n.wantNothingLeft()
	})
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/metrics/testutil"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/claimstatus"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestTokenMetrics_showTheEarliestExpiration(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		if got := n.driver.tokenMetrics(); got.Known || got.Claims != 0 {
			t.Errorf("without a claim: %+v", got)
		}
		n.prepared("a")
		if got := n.driver.tokenMetrics(); !got.Known || got.Claims != 1 || got.Remaining != lifetime {
			t.Errorf("with a new token: %+v, want %s", got, lifetime)
		}
		n.requester.failWith(errors.New("denied by webhook"))
		<-time.After(lifetime + time.Second) // by the bubble's clock
		if got := n.driver.tokenMetrics(); got.Remaining != -time.Second {
			t.Errorf("after it expired: %+v", got)
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

func TestRenew_doesNotDependOnTheNodesClock(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		// The node's clock is two hours ahead of that of the API server.
		n.client.PrependReactor("create", "serviceaccounts", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
				Token: "t", ExpirationTimestamp: metav1.NewTime(time.Now().Add(lifetime - 2*time.Hour)),
			}}, nil
		})
		claim := n.create(readyFor(t, claimFor("a"), "account-1"))
		start := time.Now()
		_, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		n.awaitTokenRequest("the first token")
		n.awaitTokenRequest("renewal")
		took := time.Since(start)
		n.requester.failWith(errors.New("stop")) // so that the bubble ends
		if took < lifetime/2 {
			t.Errorf("the token was renewed after %s of %s", took, lifetime)
		}
	})
}

func TestApplyLatest_ignoresDataOfAnUnknownVersion(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		newer := claim.DeepCopy()
		newer.Status.Devices[0].Data.Raw = []byte(`{"kind":"SpaceStatus","apiVersion":"space.resource.example.com/v2"}`)
		n.update(newer)
		n.update(readyFor(t, claim, "account-2"))
		if m := n.awaitTokenRequest("a token of the new ServiceAccount"); m.account.UID != "account-2" {
			t.Errorf("the next token is for ServiceAccount UID %s", m.account.UID)
		}
	})
}

func TestRenew_renewsAllTokensOfAClaim(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a", "b")
		byNamespace := map[string]string{}
		for range 2 {
			m := n.awaitTokenRequest("renewal of two spaces")
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

func TestRenew_replacesEmbeddedTokens(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := withClaimConfig(claimFor("a", "b"), `,"embedToken":true`)
		claim.Status.Allocation.Devices.Config[0].Requests = []string{"a"}
		_, err := prepareClaim(t.Context(), n.driver, n.create(readyFor(t, claim, "account-1")))
		n.must(err)
		want := func(when string) {
			t.Helper()
			synctest.Wait()
			for subdir, embedded := range map[string]bool{"a": true, "b": false} {
				dir := n.driver.store.credentialsPath(claim.UID, subdir)
				token, err := os.ReadFile(filepath.Join(dir, "token"))
				n.must(err)
				kubeconfig, err := clientcmd.LoadFromFile(filepath.Join(dir, "kubeconfig"))
				n.must(err)
				user := kubeconfig.AuthInfos["space"]
				if has := user.Token == string(token); has != embedded || user.TokenFile == "" {
					t.Errorf("%s, request %s: got token %q, token file %q, want %q, embedded: %t", when, subdir, user.Token, user.TokenFile, token, embedded)
				}
			}
		}
		want("prepared")
		before, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, "a"), "token"))
		n.must(err)
		<-time.After(resyncInterval)
		want("after a resync")
		n.server.CA = []byte("another CA")
		n.restart()
		want("with another CA")
		<-time.After(renewal)
		want("renewed")
		after, err := os.ReadFile(filepath.Join(n.driver.store.credentialsPath(claim.UID, "a"), "token"))
		n.must(err)
		if bytes.Equal(before, after) {
			t.Error("the token was not renewed: this test shows nothing")
		}
		n.must(os.Remove(filepath.Join(n.driver.store.credentialsPath(claim.UID, "a"), "token")))
		<-time.After(resyncInterval)
		<-time.After(renewal)
		want("removed, and renewed")
	})
}

func TestRenew_retriesWithIncreasingDelays(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		fail := func(times int, want []time.Duration) {
			t.Helper()
			n.requester.failWith(errors.New("no API server"))
			last := n.awaitTokenRequest("renewal").at
			for i := range times {
				at := n.awaitTokenRequest("retry").at
				if i < len(want) && at.Sub(last) != want[i] {
					t.Errorf("retry %d was after %s, want %s", i, at.Sub(last), want[i])
				}
				if i >= len(want) && at.Sub(last) != lastRetry {
					t.Errorf("retry %d was after %s, want %s", i, at.Sub(last), lastRetry)
				}
				last = at
			}
			n.requester.failWith(nil)
			recovered := n.awaitTokenRequest("the retry that succeeds")
			n.wantToken(claim, "", recovered.value)
			next := n.awaitTokenRequest("renewal after recovery")
			if got := next.at.Sub(recovered.at); got != renewal {
				t.Errorf("the next renewal was %s after the recovery, want %s", got, renewal)
			}
		}
		inOrder := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}
		fail(9, inOrder)
		fail(3, inOrder) // the delays are reset after a success
	})
}

func TestRenew_continuesIfOneSpaceFails(t *testing.T) {
	for i, name := range []string{"the first fails", "the second fails"} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.prepared("a", "b")
				results := allocation.FromClaim(claim, testDriver).Results
				bad, good := results[i], results[1-i]
				var recovered atomic.Bool
				var badTries atomic.Int64
				n.requester.intercept(func(_ context.Context, account token.Account) error {
					if account.Namespace == bad.NamespaceName("ns-") && !recovered.Load() {
						badTries.Add(1)
						return errors.New("the account is being deleted")
					}
					return nil
				})
				start := time.Now()
				before := n.tokenIn(claim, bad.Subdir)
				for try := 1; try <= 3; try++ {
					m := n.awaitTokenRequest("renewal of the other space")
					// The other space is not renewed with each retry for this one.
					if got, want := m.at.Sub(start), time.Duration(try)*renewal; m.account.Namespace != good.NamespaceName("ns-") || got < want-lastRetry || got > want {
						t.Errorf("renewal %d was for %+v after %s, want about %s", try, m.account, got, want)
					}
					n.wantToken(claim, good.Subdir, m.value)
				}
				n.wantToken(claim, bad.Subdir, before)
				// After the first minute, there is one retry each minute.
				if tries := badTries.Load(); tries < 60 || tries > int64(3*renewal/lastRetry) {
					t.Errorf("got %d retries in %s", tries, time.Since(start))
				}
				e, _ := n.awaitEvent()
				for _, part := range []string{spaceapi.ReasonTokenRenewalFailed, "the account is being deleted"} {
					if !strings.Contains(e, part) {
						t.Errorf("the event lacks %q: %s", part, e)
					}
				}

				recovered.Store(true)
				at := time.Now()
				m := n.awaitTokenRequest("the retry that succeeds")
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

func TestRenew_isNotDelayedByARequestWithoutResponse(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a", "b")
		results := allocation.FromClaim(claim, testDriver).Results
		n.requester.intercept(func(ctx context.Context, account token.Account) error {
			if account.Namespace == results[0].NamespaceName("ns-") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		m := n.awaitTokenRequest("renewal of the other space")
		<-time.After(requestTimeout)
		n.wantToken(claim, results[1].Subdir, m.value)
	})
}

func TestRenew_recordsErrorsOfRequestedTokensOnly(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.create(readyFor(t, withClassConfig(claimFor("a", "b"), `,"tokenLifetime":"59m45s"`, "a"), "account-1"))
		_, err := prepareClaim(t.Context(), n.driver, claim)
		n.must(err)
		// The token of b becomes due while that of a is requested, which cannot be written.
		path := filepath.Join(n.driver.store.credentialsPath(claim.UID, "a"), "token")
		n.must(os.Remove(path))
		n.must(os.Mkdir(path, 0o700))
		const delay = 20 * time.Second
		n.requester.intercept(func(_ context.Context, account token.Account) error {
			if account.Namespace == allocation.FromClaim(claim, testDriver).Results[0].NamespaceName("ns-") {
				<-time.After(delay)
			}
			return nil
		})
		<-time.After(renewal - 10*time.Second + delay)
		synctest.Wait()
		if got := n.driver.tracked.get(claim.UID).tokens; got[0].err == nil || got[1].err != nil {
			t.Errorf("got errors %v and %v", got[0].err, got[1].err)
		}
	})
}

func TestRenew_requestsEachTokenOnceAtTheStart(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		requests := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
		claim := n.prepared(requests...)
		n.driver.Stop()
		n.update(readyFor(t, claim, "account-2"))
		// The new process does not know the claim, and the ServiceAccounts were recreated.
		n.start()
		synctest.Wait()
		if got := len(n.requester.calls); got != len(requests) {
			t.Errorf("got %d token requests at the start, want %d", got, len(requests))
		}
		n.update(readyFor(t, claim, "account-3"))
		if got := len(n.requester.calls); got != 2*len(requests) {
			t.Errorf("got %d token requests after the change, want %d", got, 2*len(requests))
		}
	})
}

// Tokens have a lifetime of an hour, and are due after 40 minutes.
func TestRenew_survivesOutages(t *testing.T) {
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
					t.Errorf("renewed after %s of %s", at, lifetime)
				}
			})
		})
	}
}

func TestRenew_renewsSoonAfterTheClockIsSetAhead(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		<-time.After(renewal / 4)
		n.wallAhead.Store(int64(24 * time.Hour))
		set := time.Now()
		m := n.awaitTokenRequest("the renewal after the change of the clock")
		if took := m.at.Sub(set); took > resyncInterval {
			t.Errorf("it took %s", took)
		}
		n.wantToken(claim, "", m.value)
		for range 3 {
			next := n.awaitTokenRequest("renewal")
			if got := next.at.Sub(m.at); got != renewal {
				t.Errorf("the next renewal was after %s, want %s", got, renewal)
			}
			m = next
		}
	})
}

func TestRenew_isOnTimeAfterTheClockIsSetBack(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		start := time.Now()
		<-time.After(renewal / 4)
		n.wallAhead.Store(int64(-24 * time.Hour))
		for i := 1; i <= 3; i++ {
			if got, want := n.awaitTokenRequest("renewal").at.Sub(start), time.Duration(i)*renewal; got != want {
				t.Errorf("renewal %d was after %s, want %s", i, got, want)
			}
		}
	})
}

func TestRenew_backsOffAfterTheClockIsSetAhead(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		n.requester.failWith(errors.New("no API server"))
		n.wallAhead.Store(int64(24 * time.Hour))
		const during = time.Hour
		<-time.After(during)
		if tries := len(n.requester.calls); tries > int(during/lastRetry)+20 {
			t.Errorf("got %d retries in %s", tries, during)
		}
		n.requester.failWith(nil)
		n.awaitSuccess()
	})
}

func TestReportFailure_recordsEventsForContinuedFailures(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		for range 2 { // a success resets it
			n.requester.failWith(errors.New("denied by webhook"))
			n.wantNoEvent(renewal - time.Second)
			e, took := n.awaitEvent()
			if took < eventAfter || took > 2*eventAfter {
				t.Errorf("it took %s, want a bit more than %s", took, eventAfter)
			}
			for _, part := range []string{"Warning", spaceapi.ReasonTokenRenewalFailed, "node-7", "denied by webhook"} {
				if !strings.Contains(e, part) {
					t.Errorf("the event lacks %q: %s", part, e)
				}
			}
			if _, took := n.awaitEvent(); took < eventInterval || took > eventInterval+lastRetry {
				t.Errorf("the next event was after %s, want %s", took, eventInterval)
			}
			n.requester.failWith(nil)
			n.awaitSuccess()
		}
		n.wantNoEvent(longTime)
	})
}

func TestReportFailure_recordsNoEventForShortOutages(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		n.requester.failWith(errors.New("no API server"))
		n.wantNoEvent(renewal + eventAfter/2)
		n.requester.failWith(nil)
		n.awaitSuccess()
		n.wantNoEvent(longTime)
	})
}

func TestApplyLatest_stopsRenewalWhenTheSpaceExpired(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		claim = n.update(notReady(t, claim, spaceapi.ReasonExpired, "it lived for 8h0m0s"))
		n.wantNoTokenRequest("the space expired")
		n.restart()
		n.wantNoTokenRequest("the space expired before the plugin started")
		n.wantNoEvent(time.Second)
		// Its pods may still be running.
		n.wantAllFiles()

		claim.Status.Allocation = nil
		n.update(claim)
		n.awaitUnprepare()
		n.resync()
		n.wantNoFiles()
	})
}

func TestApplyLatest_renewsSpacesThatDidNotExpire(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a", "b")
		a := allocation.FromClaim(claim, testDriver)
		n.update(apply(t, claim, []claimstatus.Entry{{Result: a.Results[0], Ready: metav1.Condition{
			Status: metav1.ConditionFalse, Reason: spaceapi.ReasonExpired,
		}}}))
		for range 3 {
			if m := n.awaitTokenRequest("renewal"); m.account.Namespace != a.Results[1].NamespaceName("ns-") {
				t.Errorf("a token was requested in %s", m.account.Namespace)
			}
		}
	})
}

func TestApplyLatest_backsOffForReplacedServiceAccounts(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a", "b")
		renewed := func() int {
			requests := len(n.requester.calls)
			for range requests {
				<-n.requester.calls
			}
			return requests / 2 // spaces
		}
		const attacks = 100
		last := claim
		for i := range attacks {
			last = n.update(readyFor(t, last, types.UID(fmt.Sprintf("account-%d", i))))
			if i == 0 && renewed() != 1 {
				t.Error("the first renewal was delayed")
			}
			<-time.After(lastRetry / attacks)
		}
		if got := renewed(); got == 0 || got > attacks/10 {
			t.Errorf("%d replaced ServiceAccounts led to %d renewals", attacks, got)
		}
		// The last one leads to a renewal.
		<-time.After(lastRetry)
		if p, err := n.driver.store.get(claimA); err != nil || p.Spaces[1].ServiceAccountUID != types.UID(fmt.Sprintf("account-%d", attacks-1)) {
			t.Errorf("got metadata %+v, error %v", p, err)
		}
		renewed()
		<-time.After(2*lastRetry + time.Second)
		if n.update(readyFor(t, last, "account-after-reset")); renewed() != 1 {
			t.Error("the first renewal after the reset was delayed")
		}

		n.update(readyFor(t, last, "account-before-the-end"))
		deallocated := last.DeepCopy()
		deallocated.Status.Allocation = nil
		n.update(deallocated)
		if n.driver.tracked.get(claimA).deallocatedAt.IsZero() {
			t.Error("the end of the claim was delayed")
		}
	})
}

func TestApplyLatest_updatesTheMetadata(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a")
		claim = n.update(readyFor(t, claim, "account-2"))
		n.awaitTokenRequest("renewal for the new ServiceAccount")
		n.wantToken(claim, "", "token-2")
		p, err := n.driver.store.get(claimA)
		if err != nil || p.Spaces[0].ServiceAccountUID != "account-2" {
			t.Errorf("got metadata %+v, error %v", p, err)
		}

		// A plugin that starts reads the claim before it requests a token.
		n.driver.Stop()
		n.update(readyFor(t, claim, "account-3"))
		n.start()
		if m := n.awaitTokenRequest("the renewal at start"); m.account.UID != "account-3" {
			t.Errorf("the first token is for %s", m.account.UID)
		}
	})
}

type tokenRequesterFunc func(context.Context, token.Account, time.Duration) (token.Token, error)

func (f tokenRequesterFunc) Request(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error) {
	return f(ctx, account, lifetime)
}

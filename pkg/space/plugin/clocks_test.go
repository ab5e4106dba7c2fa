// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"testing"
	"time"
)

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
				n.minter.failWith(errors.New("no API server"))
				<-time.After(test.to - test.from)
				n.minter.failWith(nil)
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
		n.minter.failWith(errors.New("no API server"))
		<-time.After(5 * lifetime)
		n.minter.failWith(nil)
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
		n.minter.failWith(errors.New("no API server"))
		n.wallAhead.Store(int64(24 * time.Hour))
		const during = time.Hour
		<-time.After(during)
		if tries := len(n.minter.calls); tries > int(during/lastRetry)+20 {
			t.Errorf("%d tries in %s", tries, during)
		}
		n.minter.failWith(nil)
		n.awaitSuccess()
	})
}

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

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestASpaceWhoseTokensAreRefusedDoesNotKeepTheOthersFromTheirs(t *testing.T) {
	for i, name := range []string{"the first is refused", "the second is refused"} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				claim := n.prepared("a", "b")
				shares := identity.Of(claim, testDriver).Shares
				bad, good := shares[i], shares[1-i]
				var mended atomic.Bool
				var badTries atomic.Int64
				n.minter.askFirst(func(_ context.Context, account token.Account) error {
					if account.Namespace == bad.NamespaceName("ns-") && !mended.Load() {
						badTries.Add(1)
						return errors.New("the account is being deleted")
					}
					return nil
				})
				start := time.Now()
				before := n.tokenIn(claim, bad.Slot)
				for try := 1; try <= 3; try++ {
					m := n.awaitMint("renewal of the other space")
					// The other one is not renewed with each try for the one that fails.
					if got, want := m.at.Sub(start), time.Duration(try)*renewal; m.account.Namespace != good.NamespaceName("ns-") || got < want-lastRetry || got > want {
						t.Errorf("renewal %d was for %+v after %s, want about %s", try, m.account, got, want)
					}
					n.wantToken(claim, good.Slot, m.value)
				}
				n.wantToken(claim, bad.Slot, before)
				// After the first minute there is one try a minute.
				if tries := badTries.Load(); tries < 60 || tries > int64(3*renewal/lastRetry) {
					t.Errorf("the one that fails was tried %d times in %s", tries, time.Since(start))
				}
				e, _ := n.awaitEvent()
				for _, part := range []string{spaceapi.ReasonRenewalFailing, "the account is being deleted"} {
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
				n.wantToken(claim, bad.Slot, m.value)
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
		shares := identity.Of(claim, testDriver).Shares
		n.minter.askFirst(func(ctx context.Context, account token.Account) error {
			if account.Namespace == shares[0].NamespaceName("ns-") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		m := n.awaitMint("renewal of the other space")
		<-time.After(mintTimeout)
		n.wantToken(claim, shares[1].Slot, m.value)
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
		if got := len(n.minter.calls); got != len(requests) {
			t.Errorf("%d tokens were asked for at the start, want %d", got, len(requests))
		}
		n.update(readyWith(t, claim, "account-3"))
		if got := len(n.minter.calls); got != 2*len(requests) {
			t.Errorf("%d tokens were asked for after the change, want %d", got, 2*len(requests))
		}
	})
}

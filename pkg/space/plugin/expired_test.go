// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/identity"
	"github.com/space-dra/space-dra-driver/pkg/space/status"
	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

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
		n.resync()
		n.resync()
		n.wantNothingLeft()
	})
}

func TestOfTwoSpacesTheOneThatLivesIsRenewed(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.preparedAs(claimA, "a", "b")
		a := identity.Of(claim, testDriver)
		n.update(apply(t, claim, []status.Entry{{Share: a.Shares[0], Ready: metav1.Condition{
			Status: metav1.ConditionFalse, Reason: spaceapi.ReasonExpired,
		}}}))
		for range 3 {
			if m := n.awaitMint("renewal"); m.account.Namespace != a.Shares[1].NamespaceName("ns-") {
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
		n.driver.Minter = minterFunc(func(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error) {
			tok, err := n.minter.Mint(ctx, account, lifetime)
			cancel(cause)
			return tok, err
		})
		if _, err := n.driver.prepare(ctx, claim); !errors.Is(err, cause) {
			t.Errorf("got error %v, want %v", err, cause)
		}
		n.wantNothingLeft()
	})
}

type minterFunc func(context.Context, token.Account, time.Duration) (token.Token, error)

func (f minterFunc) Mint(ctx context.Context, account token.Account, lifetime time.Duration) (token.Token, error) {
	return f(ctx, account, lifetime)
}

func TestClaimsAreUnpreparedSideBySide(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.preparedAs(claimA, "a")
		_, unlock := take(t, n.driver.locks, claimA)
		done := make(chan map[types.UID]error, 1)
		n.must(n.driver.specs.write(claimB, []cdiDevice{{name: "x", env: []string{"A=b"}}}))
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

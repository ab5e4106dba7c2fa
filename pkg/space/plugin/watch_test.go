// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"
)

func TestWatch_renewsWhenTheServiceAccountWasRecreated(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		repaired := time.Now()
		claim = n.update(readyFor(t, claim, "account-2"))
		m := n.awaitTokenRequest("renewal for the new ServiceAccount")
		if m.account.UID != "account-2" {
			t.Errorf("the token is for ServiceAccount UID %s, want account-2", m.account.UID)
		}
		if took := m.at.Sub(repaired); took != 0 {
			t.Errorf("it took %s", took)
		}
		n.wantToken(claim, "", m.value)
		if next := n.awaitTokenRequest("the renewal after that"); next.account.UID != "account-2" || next.at.Sub(m.at) > renewal {
			t.Errorf("the next renewal is after %s for UID %s", next.at.Sub(m.at), next.account.UID)
		}
	})
}

func TestWatch_recoversFromFailures(t *testing.T) {
	for name, breakIt := range map[string]func(n *node){
		"the watch ended": func(n *node) {
			broken := watch.NewFake()
			n.client.PrependWatchReactor("resourceclaims", once(func() (watch.Interface, error) { return broken, nil }))
			n.prepared("a")
			synctest.Wait()
			broken.Stop()
		},
		"the watch failed because it is too old": func(n *node) {
			broken := watch.NewFakeWithChanSize(1, false)
			broken.Error(&resourceapi.ResourceClaimList{}) // any object that is no claim
			n.client.PrependWatchReactor("resourceclaims", once(func() (watch.Interface, error) { return broken, nil }))
			n.prepared("a")
		},
		"the watch could not be started": func(n *node) {
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
			n.awaitTokenRequest("the renewal at start")
		},
	} {
		t.Run(name, func(t *testing.T) {
			onNode(t, func(t *testing.T, n *node) {
				breakIt(n)
				claim := n.update(readyFor(t, claimFor("a"), "account-2"))
				broken := time.Now()
				m := n.awaitTokenRequest("renewal for the new ServiceAccount")
				if took := m.at.Sub(broken); m.account.UID != "account-2" || took > time.Minute {
					t.Errorf("after %s there was a token for ServiceAccount UID %s", took, m.account.UID)
				}
				n.wantToken(claim, "", m.value)
			})
		})
	}
}

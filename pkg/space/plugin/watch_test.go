// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
)

func TestWatch_renewsWhenTheServiceAccountWasRecreated(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		recreated := time.Now()
		claim = n.update(readyFor(t, claim, "account-2"))
		m := n.awaitTokenRequest("renewal for the new ServiceAccount")
		if m.account.UID != "account-2" {
			t.Errorf("the token is for ServiceAccount UID %s, want account-2", m.account.UID)
		}
		if took := m.at.Sub(recreated); took != 0 {
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
		"the plugin started while the API server was unavailable": func(n *node) {
			n.prepared("a")
			failures := 5
			n.client.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
				failures--
				return failures >= 0, nil, errors.New("no API server")
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

// The author of a claim can change it in a loop.
func TestWatch_limitsReadsOfAClaimThatChangesOften(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		claim := n.prepared("a")
		var reads atomic.Int32
		n.client.PrependReactor("get", "resourceclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
			reads.Add(1)
			return false, nil, nil
		})
		for range 10 * changeBurst {
			claim = n.update(claim)
		}
		if got := reads.Load(); got != changeBurst {
			t.Errorf("the plugin read the claim %d times, want %d", got, changeBurst)
		}
		n.update(readyFor(t, claim, "account-2"))
		start := time.Now()
		if m := n.awaitTokenRequest("renewal for the new ServiceAccount"); m.account.UID != "account-2" || m.at.Sub(start) > changeInterval+time.Second {
			t.Errorf("after %s there was a token for ServiceAccount UID %s", m.at.Sub(start), m.account.UID)
		}
	})
}

func TestClaimWatcher_receivesNoObjects(t *testing.T) {
	requests := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"type":"MODIFIED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"8"},"columnDefinitions":[],"rows":[{"cells":["claim"],"object":null}]}}`)
		fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`)
	}))
	t.Cleanup(server.Close)
	watchClaim, err := newClaimWatcher(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	w, err := watchClaim(t.Context(), types.NamespacedName{Namespace: "team", Name: "claim"}, "7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	r := <-requests
	query := r.URL.Query()
	for what, got := range map[string][2]string{
		"path":            {r.URL.Path, "/apis/resource.k8s.io/v1/namespaces/team/resourceclaims"},
		"Accept":          {r.Header.Get("Accept"), "application/json;as=Table;v=v1;g=meta.k8s.io"},
		"watch":           {query.Get("watch"), "true"},
		"fieldSelector":   {query.Get("fieldSelector"), "metadata.name=claim"},
		"resourceVersion": {query.Get("resourceVersion"), "7"},
		"includeObject":   {query.Get("includeObject"), "None"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %q, want %q", what, got[0], got[1])
		}
	}
	if event := <-w.ResultChan(); event.Type != watch.Modified {
		t.Errorf("got %v, want a change", event)
	}
	if event := <-w.ResultChan(); event.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		t.Errorf("got %v, want the error", event)
	}
}

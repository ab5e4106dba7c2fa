// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	account = token.Account{Namespace: "ephemeral-ns-x", Name: "space", UID: "account-uid"}
)

// requester returns a Requester whose API server responds with what respond returns.
func requester(respond func(clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error)) token.Requester {
	client := fake.NewClientset()
	client.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetSubresource() != "token" {
			return true, nil, fmt.Errorf("unexpected create of subresource %q", action.GetSubresource())
		}
		request, err := respond(action.(clienttesting.CreateActionImpl))
		return true, request, err
	})
	return token.Requester{Client: client, Node: "node-7", Lifetime: 90 * time.Minute, Clock: clocktesting.NewFakePassiveClock(now)}
}

func granted(value string, life time.Duration) *authenticationv1.TokenRequest {
	seconds := int64(life / time.Second)
	return &authenticationv1.TokenRequest{
		Spec:   authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
		Status: authenticationv1.TokenRequestStatus{Token: value, ExpirationTimestamp: metav1.NewTime(now.Add(life))},
	}
}

func TestRequest_isBoundToNodeAndAccount(t *testing.T) {
	var created clienttesting.CreateActionImpl
	r := requester(func(action clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) {
		created = action
		// Servers may grant less than what was requested.
		return granted("secret", time.Hour), nil
	})
	got, err := r.Request(t.Context(), account, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Reveal(), []byte("secret")) || !got.Issued.Equal(now) || !got.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("got a token of %d bytes, issued %s, expiring %s", len(got.Reveal()), got.Issued, got.Expires)
	}
	if created.Namespace != account.Namespace || created.Name != account.Name {
		t.Errorf("requested a token of %s/%s", created.Namespace, created.Name)
	}
	request := created.Object.(*authenticationv1.TokenRequest)
	if request.UID != account.UID {
		t.Errorf("got UID %q, want that of the account", request.UID)
	}
	if want := (authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: "node-7"}); request.Spec.BoundObjectRef == nil || *request.Spec.BoundObjectRef != want {
		t.Errorf("requested a token bound to %v, want %v", request.Spec.BoundObjectRef, want)
	}
	if seconds := ptr.Deref(request.Spec.ExpirationSeconds, 0); seconds != 90*60 {
		t.Errorf("requested %d seconds, want %d", seconds, 90*60)
	}
	if len(request.Spec.Audiences) > 0 {
		t.Errorf("requested audiences %q, want the default", request.Spec.Audiences)
	}
}

func TestRequest_usesTheLifetimeThatIsGranted(t *testing.T) {
	var requested int64
	r := requester(func(action clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) {
		request := action.Object.(*authenticationv1.TokenRequest)
		requested = ptr.Deref(request.Spec.ExpirationSeconds, 0)
		return &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: "secret"}}, nil
	})
	got, err := r.Request(t.Context(), account, 20*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if requested != 20*60 || !got.Expires.Equal(now.Add(20*time.Minute)) {
		t.Errorf("requested %d seconds, and the token expires at %s; want 20 minutes", requested, got.Expires)
	}
}

func TestRequest_rejectsAnEmptyToken(t *testing.T) {
	r := requester(func(clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) {
		return granted("", time.Hour), nil
	})
	if _, err := r.Request(t.Context(), account, 0); err == nil {
		t.Error("got no error")
	}
}

func TestRequest_errorsNameAccountAndNode(t *testing.T) {
	cause := errors.New("out of tokens")
	r := requester(func(clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) { return nil, cause })
	_, err := r.Request(t.Context(), account, 0)
	if !errors.Is(err, cause) {
		t.Fatalf("got error %v, want one that wraps the cause", err)
	}
	for _, part := range []string{"ephemeral-ns-x/space", "node-7"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %s: %v", part, err)
		}
	}
}

func TestToken_isNotPrinted(t *testing.T) {
	r := requester(func(clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) {
		return granted("secret", time.Hour), nil
	})
	tok, err := r.Request(t.Context(), account, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"alone":       tok,
		"by pointer":  &tok,
		"in a struct": struct{ Token token.Token }{tok},
		"in a slice":  []token.Token{tok},
		"in an error": fmt.Errorf("write %v", tok),
		"hidden":      struct{ hidden token.Token }{tok}, // fmt calls no methods on unexported fields
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
			if out := fmt.Sprintf(verb, value); strings.Contains(out, "secret") {
				t.Errorf("%s, %s prints %s", name, verb, out)
			}
		}
	}
	if raw, err := json.Marshal(tok); err != nil || bytes.Contains(raw, []byte("secret")) {
		t.Errorf("JSON is %s, error %v", raw, err)
	}
}

func TestRenewTime_isAfterTwoThirdsOrEarlier(t *testing.T) {
	for _, life := range []time.Duration{token.MinLifetime, time.Hour, 48 * time.Hour} {
		tok := token.Token{Issued: now, Expires: now.Add(life)}
		at := func(jitter float64) float64 { return float64(token.RenewTime(tok, jitter).Sub(now)) / float64(life) }
		if got := at(0); got < 0.6666 || got > 2.0/3 {
			t.Errorf("lifetime %s: without jitter at %.4f of it, want two thirds", life, got)
		}
		if got := at(0.9999999); got < 0.6 || got > 0.601 {
			t.Errorf("lifetime %s: with full jitter at %.4f of it, want six tenths", life, got)
		}
		if at(0.2) <= at(0.8) {
			t.Errorf("lifetime %s: more jitter does not renew earlier", life)
		}
	}
}

func TestRequest_redactsErrors(t *testing.T) {
	cause := errors.New(`Object 'Kind' is missing in '{"status":{"token":"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2VjcmV0"}}'`)
	r := requester(func(clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) { return nil, cause })
	_, err := r.Request(t.Context(), account, 0)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "'Kind' is missing") {
		t.Errorf("got error %v, want the API server's", err)
	}
	for _, part := range []string{"eyJ", "c2VjcmV0"} {
		if strings.Contains(err.Error(), part) {
			t.Errorf("the error has a part of the token: %v", err)
		}
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package token requests the tokens of spaces from the API server, for nodes and for users.
// No token is ever stored in a Secret.
package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

// MinLifetime is the shortest lifetime that the API server grants
// (k8s.io/kubernetes, pkg/apis/authentication/validation).
const MinLifetime = 10 * time.Minute

// Token is a bearer token. It prints as a placeholder.
type Token struct {
	// reveal is a function because fmt prints fields, whatever methods they have.
	reveal func() []byte
	// Issued is the time of the request, and Expires is that time plus the lifetime that the
	// server granted. Both are by the node's clock, so that renewals do not depend on the
	// server's clock.
	Issued  time.Time
	Expires time.Time
}

// New returns a token with a value.
func New(value string, issued, expires time.Time) Token {
	return Token{reveal: func() []byte { return []byte(value) }, Issued: issued, Expires: expires}
}

// Reveal returns the token itself, to write it to a file.
func (t Token) Reveal() []byte {
	if t.reveal == nil {
		return nil
	}
	return t.reveal()
}

// String implements fmt.Stringer. It does not reveal the token.
func (t Token) String() string { return "[token until " + t.Expires.Format(time.RFC3339) + "]" }

// GoString implements fmt.GoStringer. It does not reveal the token.
func (t Token) GoString() string { return t.String() }

// Account is the ServiceAccount that a token is for.
type Account struct {
	Namespace string
	Name      string
	// UID is a precondition: the API server rejects requests for another account of this name.
	UID types.UID
}

// Requester requests tokens.
type Requester struct {
	Client kubernetes.Interface
	// Node is the name of the Node object that tokens are bound to: they become invalid when
	// it is deleted. If empty, tokens are bound to the account only.
	Node string
	// Lifetime is the default of the requested lifetime.
	Lifetime time.Duration
	Clock    clock.PassiveClock
}

// Request returns a new token. A lifetime of zero means the Requester's.
func (r Requester) Request(ctx context.Context, account Account, lifetime time.Duration) (Token, error) {
	lifetime = cmp.Or(lifetime, r.Lifetime)
	tokenRequest := &authenticationv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{UID: account.UID},
		Spec:       authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(lifetime / time.Second))},
	}
	bound := ""
	if r.Node != "" {
		tokenRequest.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: r.Node}
		bound = ", bound to Node " + r.Node
	}
	// client-go logs the bodies of responses at high verbosity. This one has a token.
	ctx = klog.NewContext(ctx, logr.Discard())
	issued := r.Clock.Now()
	response, err := r.Client.CoreV1().ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name, tokenRequest, metav1.CreateOptions{})
	if err = redact(err); err != nil {
		return Token{}, fmt.Errorf("request a token for ServiceAccount %s/%s%s: %w", account.Namespace, account.Name, bound, err)
	}
	if response.Status.Token == "" {
		return Token{}, errors.New("the API server returned an empty token")
	}
	// The lifetime that the API server grants can be shorter than requested
	// (k8s.io/kubernetes, pkg/registry/core/serviceaccount/storage).
	if granted := response.Spec.ExpirationSeconds; granted != nil {
		lifetime = time.Duration(*granted) * time.Second
	}
	if lifetime < MinLifetime {
		return Token{}, fmt.Errorf("the API server returned a lifetime of %s, less than its own minimum of %s", lifetime, MinLifetime)
	}
	return New(response.Status.Token, issued, issued.Add(lifetime)), nil
}

// RenewTime returns when to renew a token: after two thirds of its lifetime, or up to a fifteenth
// of it earlier, so that tokens that were requested at the same time are renewed at different
// times. jitter is in [0, 1).
func RenewTime(t Token, jitter float64) time.Time {
	life := t.Expires.Sub(t.Issued)
	return t.Issued.Add(life*2/3 - time.Duration(jitter*float64(life/15)))
}

// jwt matches the token of a ServiceAccount: base64 of JSON, separated by dots.
var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)*`)

// redactedError is an error whose text contains no token.
type redactedError struct{ error }

// redact removes tokens from the text of an error: an error about a response that could not be
// decoded quotes the response.
func redact(err error) error {
	if err == nil || !jwt.MatchString(err.Error()) {
		return err
	}
	return redactedError{err}
}

func (e redactedError) Error() string { return jwt.ReplaceAllString(e.error.Error(), "[token]") }

func (e redactedError) Unwrap() error { return e.error }

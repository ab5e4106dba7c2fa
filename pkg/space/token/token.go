// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package token gets the tokens of spaces from the API server. Tokens pass
// through the node's memory to a file; no Secret ever holds one. A person who may do
// so can get one too.
package token

import (
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
	// Issued is when it was asked for, and Expires is when the lifetime that the
	// server granted is over, both by the node's clock: a server whose clock
	// differs must not make renewals come too late, or without end.
	Issued  time.Time
	Expires time.Time
}

// New returns a token with a value.
func New(value string, issued, expires time.Time) Token {
	return Token{reveal: func() []byte { return []byte(value) }, Issued: issued, Expires: expires}
}

// Reveal returns the token itself, for the one place that writes it to a file.
func (t Token) Reveal() []byte {
	if t.reveal == nil {
		return nil
	}
	return t.reveal()
}

// String implements fmt.Stringer without giving the token away.
func (t Token) String() string { return "[token until " + t.Expires.Format(time.RFC3339) + "]" }

// GoString implements fmt.GoStringer without giving the token away.
func (t Token) GoString() string { return t.String() }

// Account is the ServiceAccount that a token is for.
type Account struct {
	Namespace string
	Name      string
	// UID makes the API server refuse a token for an account of the same name
	// that has taken this one's place.
	UID types.UID
}

// Requester asks for tokens on behalf of one node.
type Requester struct {
	Client kubernetes.Interface
	// Node is the name of the Node object that tokens are bound to: they die with it.
	Node string
	// Lifetime is what is asked for unless somebody wants another one.
	Lifetime time.Duration
	Clock    clock.PassiveClock
}

// Request returns a new token. A lifetime of zero means the Requester's.
func (m Requester) Request(ctx context.Context, account Account, lifetime time.Duration) (Token, error) {
	if lifetime == 0 {
		lifetime = m.Lifetime
	}
	return request(ctx, m.Client, m.Clock, account, lifetime, m.Node)
}

// RequestForUser returns a new token that is bound to nothing but the account: it dies
// with that at the latest, and so with the space.
func RequestForUser(ctx context.Context, client kubernetes.Interface, clock clock.PassiveClock, account Account, lifetime time.Duration) (Token, error) {
	return request(ctx, client, clock, account, lifetime, "")
}

// request asks for a token that is bound to a Node, unless node is empty.
func request(ctx context.Context, client kubernetes.Interface, clock clock.PassiveClock, account Account, lifetime time.Duration, node string) (Token, error) {
	wanted := &authenticationv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{UID: account.UID},
		Spec:       authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(lifetime / time.Second))},
	}
	bound := ""
	if node != "" {
		wanted.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node}
		bound = ", bound to Node " + node
	}
	// client-go logs the bodies of answers at high verbosity. Not this one.
	ctx = klog.NewContext(ctx, logr.Discard())
	issued := clock.Now()
	answer, err := client.CoreV1().ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name, wanted, metav1.CreateOptions{})
	if err = withoutTokens(err); err != nil {
		return Token{}, fmt.Errorf("get a token for ServiceAccount %s/%s%s: %w", account.Namespace, account.Name, bound, err)
	}
	if answer.Status.Token == "" {
		return Token{}, errors.New("the API server answered a request for a token with an empty one")
	}
	// The API server answers with the lifetime that it granted, which can be
	// shorter than asked for (k8s.io/kubernetes, pkg/registry/core/serviceaccount/storage).
	life := lifetime
	if granted := answer.Spec.ExpirationSeconds; granted != nil {
		life = time.Duration(*granted) * time.Second
	}
	if life < MinLifetime {
		return Token{}, fmt.Errorf("the API server answered with a lifetime of %s, less than the %s that it never goes below", life, MinLifetime)
	}
	return New(answer.Status.Token, issued, issued.Add(life)), nil
}

// RenewTime says when to replace a token: at two thirds of its life, and up to a
// fifteenth of it earlier, so that tokens which were made together are not
// renewed together. jitter is in [0, 1).
func RenewTime(t Token, jitter float64) time.Time {
	life := t.Expires.Sub(t.Issued)
	return t.Issued.Add(life*2/3 - time.Duration(jitter*float64(life/15)))
}

// jwt is how each token of a ServiceAccount looks: base64 of JSON, dots between.
var jwt = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)*`)

// cleanError is an error whose text has no token in it.
type cleanError struct{ error }

// withoutTokens makes an error fit for logs and events: one about an answer that
// could not be decoded quotes the answer.
func withoutTokens(err error) error {
	if err == nil || !jwt.MatchString(err.Error()) {
		return err
	}
	return cleanError{err}
}

func (e cleanError) Error() string { return jwt.ReplaceAllString(e.error.Error(), "[token]") }

func (e cleanError) Unwrap() error { return e.error }

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Request is something asked of the API server, and what it answered.
type Request func(context.Context) error

// Refused says whether somebody was sent away, for who he is or what he may.
func Refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// AwaitAllowed repeats a request until it succeeds. The API server's authorizer and
// admission have caches: what was written gives rights soon, not at once.
func AwaitAllowed(t testing.TB, what string, ask Request) {
	t.Helper()
	awaitAnswer(t, what, "allowed", ask, func(err error) bool { return err == nil })
}

// AwaitRefused repeats a request until it is refused for want of rights. The API
// server takes rights, as it gives them, soon and not at once.
func AwaitRefused(t testing.TB, what string, ask Request) {
	t.Helper()
	awaitAnswer(t, what, "refused", ask, Refused)
}

func awaitAnswer(t testing.TB, what, answer string, ask Request, is func(error) bool) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, Patience, true, func(ctx context.Context) (bool, error) {
		last = ask(ctx)
		return is(last), nil
	})
	if err != nil {
		t.Fatalf("waited for %s to be %s: %v; the last answer: %v", what, answer, err, last)
	}
}

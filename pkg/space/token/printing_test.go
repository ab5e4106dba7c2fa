// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestATokenDoesNotPrintByOtherVerbsEither(t *testing.T) {
	m := requester(func(clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) {
		return granted("secret", time.Hour), nil
	})
	tok, err := m.Request(t.Context(), account, 0)
	if err != nil {
		t.Fatal(err)
	}
	for verb, value := range map[string]any{
		"%d": tok,
		"%v": struct{ hidden token.Token }{tok}, // fmt calls no methods on unexported fields
	} {
		if out := fmt.Sprintf(verb, value); strings.Contains(out, "secret") {
			t.Errorf("%s of %T prints %s", verb, value, out)
		}
	}
}

func TestAnAnswerThatCannotBeReadIsNotQuotedWithItsToken(t *testing.T) {
	cause := errors.New(`Object 'Kind' is missing in '{"status":{"token":"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2VjcmV0"}}'`)
	m := requester(func(clienttesting.CreateActionImpl) (*authenticationv1.TokenRequest, error) { return nil, cause })
	_, err := m.Request(t.Context(), account, 0)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "'Kind' is missing") {
		t.Errorf("got error %v, want the API server's", err)
	}
	for _, part := range []string{"eyJ", "c2VjcmV0"} {
		if strings.Contains(err.Error(), part) {
			t.Errorf("the error has a part of the token: %v", err)
		}
	}
}

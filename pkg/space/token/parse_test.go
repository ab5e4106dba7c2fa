// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// signed returns a token with claims, whose signature is not valid.
func signed(claims string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".secret"
}

func claimsOf(subject, uid string, issued, expires int64) string {
	return fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d,"kubernetes.io":{"serviceaccount":{"uid":%q}}}`, subject, issued, expires, uid)
}

func TestParse_acceptsOnlyTokensOfTheAccount(t *testing.T) {
	const subject = "system:serviceaccount:ephemeral-ns-x:space"
	issued, expires := now.Add(-time.Minute).Unix(), now.Add(time.Hour).Unix()
	valid := signed(claimsOf(subject, "account-uid", issued, expires))
	for name, test := range map[string]struct {
		text string
		want string
	}{
		"a token":                  {valid, ""},
		"a token in a line":        {valid + "\n", ""},
		"nothing":                  {"", "no JSON Web Token"},
		"two tokens":               {valid + "\n" + valid, "no JSON Web Token"},
		"control characters":       {"\x1b[2J" + valid, "no JSON Web Token"},
		"a message":                {"secret: No such file or directory", "no JSON Web Token"},
		"no signature":             {valid[:strings.LastIndex(valid, ".")+1], "no JSON Web Token"},
		"claims that are no JSON":  {signed("secret"), "no claims"},
		"claims of other types":    {signed(`{"sub":"secret","exp":"secret"}`), "no claims"},
		"claims that are not set":  {signed(`{}`), "not of ServiceAccount ephemeral-ns-x/space"},
		"another namespace":        {signed(claimsOf("system:serviceaccount:secret:space", "account-uid", issued, expires)), "not of ServiceAccount ephemeral-ns-x/space"},
		"an earlier account":       {signed(claimsOf(subject, "secret", issued, expires)), "not of ServiceAccount ephemeral-ns-x/space"},
		"an expired token":         {signed(claimsOf(subject, "account-uid", issued, issued+1)), "expired"},
		"the end before the start": {signed(claimsOf(subject, "account-uid", expires+1, expires)), "impossible lifetime"},
		"an end after all dates":   {signed(claimsOf(subject, "account-uid", issued, 253402300800)), "impossible lifetime"},
	} {
		got, err := token.Parse([]byte(test.text), account, now)
		switch {
		case test.want == "" && (err != nil || !bytes.Equal(got.Reveal(), []byte(valid)) || !got.Issued.Equal(time.Unix(issued, 0)) || !got.Expires.Equal(time.Unix(expires, 0))):
			t.Errorf("%s: got %v, error %v", name, got, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got error %v, want one with %q", name, err, test.want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: the error has a part of the text: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(signed(claimsOf("system:serviceaccount:ephemeral-ns-x:space", "account-uid", 0, 1<<40))))
	f.Add([]byte(signed(`{"exp":9223372036854775807,"iat":-9223372036854775808}`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := token.Parse(text, account, now)
		if err != nil {
			return
		}
		if !bytes.Equal(got.Reveal(), bytes.TrimSpace(text)) || !got.Expires.After(now) || strings.Trim(string(got.Reveal()), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
			t.Errorf("%q is accepted as a token until %s", text, got.Expires)
		}
	})
}

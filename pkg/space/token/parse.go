// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// jws matches a JSON Web Token: a header, claims and a signature.
var jws = regexp.MustCompile(`^[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+$`)

// Parse returns the token in a text that may be of another author. It does not verify the signature,
// which the API server does, but returns an error if the token is not one of the account, is not valid
// now, or if the text is anything but a token. The error contains nothing of the text.
func Parse(text []byte, account Account, now time.Time) (Token, error) {
	text = bytes.TrimSpace(text)
	var claims struct {
		Subject    string `json:"sub"`
		Issued     int64  `json:"iat"`
		Expires    int64  `json:"exp"`
		Kubernetes struct {
			ServiceAccount struct {
				UID types.UID `json:"uid"`
			} `json:"serviceaccount"`
		} `json:"kubernetes.io"`
	}
	if err := decodeClaims(text, &claims); err != nil {
		return Token{}, err
	}
	issued, expires := time.Unix(claims.Issued, 0), time.Unix(claims.Expires, 0)
	switch {
	case claims.Subject != "system:serviceaccount:"+account.Namespace+":"+account.Name, claims.Kubernetes.ServiceAccount.UID != account.UID:
		return Token{}, fmt.Errorf("its token is not of ServiceAccount %s/%s", account.Namespace, account.Name)
	case !expires.After(now):
		return Token{}, errors.New("its token has expired, by the clock of this machine")
	case claims.Issued < 0 || !expires.After(issued) || expires.Year() > 9999:
		return Token{}, errors.New("its token has an impossible lifetime")
	}
	return New(string(text), issued, expires), nil
}

// decodeClaims decodes the claims of a JSON Web Token, which it does not verify. The error contains
// nothing of them.
func decodeClaims(text []byte, into any) error {
	parts := jws.FindSubmatch(text)
	if parts == nil {
		return errors.New("there is no JSON Web Token")
	}
	decoded, err := base64.RawURLEncoding.DecodeString(string(parts[1]))
	if err != nil || json.Unmarshal(decoded, into) != nil {
		return errors.New("the JSON Web Token has no claims that can be decoded")
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

func TestAudiencesOf_readsTheClaimsOfTheToken(t *testing.T) {
	jwt := func(claims string) string {
		return "header." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".signature"
	}
	for content, want := range map[string][]string{
		jwt(`{"aud":["https://a.example.com","b"],"sub":"x"}`) + "\n": {"https://a.example.com", "b"},
		jwt(`{"sub":"secret"}`): nil,
		jwt(`{"aud":[]}`):       nil,
		jwt(`secret`):           nil,
		"header.%%%.signature":  nil,
		"secret":                nil,
		"":                      nil,
	} {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := token.AudiencesOf(file)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%s: got %q, error %v, want %q", content, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error has a part of the token: %v", err)
		}
	}
	if _, err := token.AudiencesOf(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("a file that does not exist: no error")
	}
}

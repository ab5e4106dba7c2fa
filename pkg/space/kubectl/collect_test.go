// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bytes"
	"strings"
	"testing"
)

// redacted writes a text in pieces of a length.
func redacted(t *testing.T, text string, length int) string {
	t.Helper()
	var out bytes.Buffer
	r := &redactor{w: &out}
	for rest := []byte(text); len(rest) > 0; {
		n := min(length, len(rest))
		if _, err := r.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRedactor_removesTokensThatAreWrittenInPieces(t *testing.T) {
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzcGFjZSJ9.c2VjcmV0LXNpZ25hdHVyZQ"
	for text, want := range map[string]string{
		"nothing\nto remove":                             "nothing\nto remove",
		"token=" + token + "\n" + token:                  "token=[token]\n[token]",
		"data: " + "ZXlKaGJHY2lPaUpTVXpJMU5pSjk9" + "\n": "data: [token]\n",
		strings.Repeat("a", 3*maxWord):                   strings.Repeat("a", 3*maxWord),
	} {
		for _, length := range []int{1, 7, 64, 32 << 10} {
			if length < 32<<10 && len(text) > maxWord {
				continue // Each write looks at the whole word.
			}
			if got := redacted(t, text, length); got != want {
				t.Errorf("%.40q in pieces of %d: got %.80q, want %.80q", text, length, got, want)
			}
		}
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add("Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzcGFjZSJ9.c2VjcmV0\n", 3)
	f.Fuzz(func(t *testing.T, text string, length int) {
		got := redacted(t, text, max(1, length))
		if want := tokens.ReplaceAllString(text, "[token]"); len(text) < maxWord && got != want {
			t.Errorf("in pieces of %d: got %q, want %q", length, got, want)
		}
	})
}

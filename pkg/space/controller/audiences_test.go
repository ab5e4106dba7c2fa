// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// writeToken replaces a file by one with a token for these audiences, as JSON.
func writeToken(t *testing.T, file, audiences string) {
	t.Helper()
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"aud":` + audiences + `}`))
	if err := os.WriteFile(file, []byte("e30."+claims+".x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReconcile_recordsTheAudiencesOfTheAPIServer(t *testing.T) {
	claim := claimFor("a")
	file := filepath.Join(t.TempDir(), "token")
	c := newClusterWith(t, func(config *Config) { config.TokenFile = file }, claim)
	c.catchUp(claim)
	check := func(want string, wrote ...string) {
		t.Helper()
		c.did()
		c.resync(t.Context())
		if queued := c.queued(); (len(queued) > 0) != (len(wrote) > 0) {
			t.Errorf("the resync queues %q", queued)
		}
		c.reconcileAndCatchUp(t)
		if got := c.wrote(); !slices.Equal(got, wrote) {
			t.Errorf("wrote %q, want %q", got, wrote)
		}
		if got := c.ofClaim()[0].Annotations[c.keys.TokenAudiences]; got != want {
			t.Errorf("recorded %q, want %q", got, want)
		}
	}
	writeToken(t, file, `["https://a.example.com"]`)
	c.reconcileAndCatchUp(t) // The Namespace is created with them.
	check("https://a.example.com")
	// The kubelet replaces the file.
	writeToken(t, file, `["https://b.example.com","https://a.example.com"]`)
	check("https://b.example.com,https://a.example.com", "patch namespaces")
	check("https://b.example.com,https://a.example.com")
	// What is recorded stays while the audiences are not known.
	writeToken(t, file, `[]`)
	check("https://b.example.com,https://a.example.com")
}

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

// writeToken writes a token with these audiences, as JSON, to a file.
func writeToken(t *testing.T, file, audiences string) {
	t.Helper()
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"aud":` + audiences + `}`))
	if err := os.WriteFile(file, []byte("e30."+claims+".x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReconcile_recordsAudiences(t *testing.T) {
	claim := claimFor("a")
	file := filepath.Join(t.TempDir(), "token")
	c := newClusterWith(t, func(config *Config) { config.TokenFile = file }, claim)
	c.syncCache(claim)
	check := func(want string, wrote ...string) {
		t.Helper()
		c.requests()
		c.resync(t.Context())
		if queued := c.queued(); (len(queued) > 0) != (len(wrote) > 0) {
			t.Errorf("the resync queued %q", queued)
		}
		c.reconcileAndSyncCache(t)
		if got := c.writes(); !slices.Equal(got, wrote) {
			t.Errorf("wrote %q, want %q", got, wrote)
		}
		if got := c.cachedNamespaces()[0].Annotations[c.keys.TokenAudiences]; got != want {
			t.Errorf("recorded %q, want %q", got, want)
		}
	}
	writeToken(t, file, `["https://a.example.com"]`)
	c.reconcileAndSyncCache(t) // It creates the Namespace with the annotation.
	check("https://a.example.com")
	// The kubelet replaces the file.
	writeToken(t, file, `["https://b.example.com","https://a.example.com"]`)
	check("https://b.example.com,https://a.example.com", "patch namespaces")
	check("https://b.example.com,https://a.example.com")
	// The annotation stays while the audiences are unknown.
	writeToken(t, file, `[]`)
	check("https://b.example.com,https://a.example.com")
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// AudiencesOf returns the audiences of the ServiceAccount token in a file, which it does not
// verify. A token that was requested without audiences, such as the one that Kubernetes mounts
// into each pod, has the audiences of the API server.
func AudiencesOf(file string) ([]string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a token: %w", err)
	}
	// Kubernetes writes audiences as a list.
	var claims struct {
		Audiences []string `json:"aud"`
	}
	err = decodeClaims(bytes.TrimSpace(raw), &claims)
	if err == nil && len(claims.Audiences) == 0 {
		err = errors.New("it has none")
	}
	if err != nil {
		return nil, fmt.Errorf("read the audiences of the token in %s: %w", file, err)
	}
	return claims.Audiences, nil
}

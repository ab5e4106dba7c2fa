// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// AudiencesOf returns the audiences of the ServiceAccount token in a file, which it does not
// verify. A token that was requested without audiences, such as the one that Kubernetes mounts
// into each pod, has the audiences of the API server.
func AudiencesOf(file string) ([]string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a token: %w", err)
	}
	// A JSON Web Token has a header, claims and a signature. Kubernetes writes audiences as a list.
	var claims struct {
		Audiences []string `json:"aud"`
	}
	parts := strings.Split(strings.TrimSpace(string(raw)), ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("file %s has no JSON Web Token", file)
	}
	decoded, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(decoded, &claims)
	}
	if err == nil && len(claims.Audiences) == 0 {
		err = errors.New("it has none")
	}
	if err != nil {
		return nil, fmt.Errorf("read the audiences of the token in %s: %w", file, err)
	}
	return claims.Audiences, nil
}

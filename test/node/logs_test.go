// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// At the highest verbosity, the log has all lines, and client-go logs the bodies of requests.
func TestPluginLog_hasDocumentedLevelsAndNoToken(t *testing.T) {
	t.Parallel()
	c := readyClaim(t)
	n := newNode(t)
	n.arguments = []string{"--v=10", "--logging-format=json"}
	p := n.start(t)
	n.mustPrepare(t, p, c)
	tokens := []string{n.token(t, c)}
	replaceAccount(t, c)
	n.awaitRenewed(t, c)
	tokens = append(tokens, n.token(t, c))
	framework.AwaitLog(t, p.log, regexp.MustCompile(`"Tokens renewed"`))
	n.mustUnprepare(t, p, c)
	framework.AwaitLog(t, p.log, regexp.MustCompile(`"Claim unprepared"`))
	p.kill()

	log := p.log.String()
	lines := framework.Lines(t, log)
	framework.CheckLog(t, lines, c.UID, "Starting", "Connected to the API server", "Claim prepared", "Tokens renewed", "Claim unprepared")
	var bodies strings.Builder
	for _, line := range lines {
		bodies.WriteString(line.Body)
	}
	if !strings.Contains(bodies.String(), string(c.UID)) {
		t.Error("the log has no body with the claim, so this test does not show that tokens are redacted")
	}
	for _, token := range tokens {
		// The first part of all tokens is the same.
		for _, part := range strings.Split(token, ".")[1:] {
			if strings.Contains(log+bodies.String(), part) {
				t.Errorf("the log contains a token: %.12s…", part)
			}
		}
	}
}

// token is what containers with a claim's only space have now.
func (n *node) token(t *testing.T, c *claim) string {
	t.Helper()
	dir, _ := n.mount(t, c)
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(token), ".") != 2 {
		t.Fatal("the token is not a JSON Web Token")
	}
	return strings.TrimSpace(string(token))
}

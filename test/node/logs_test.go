// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// story are the lines about a claim in several logs, in the order of their times.
func story(c *claim, logs ...*framework.Output) []string {
	var lines []string
	for _, log := range logs {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, `claimUID="`+string(c.UID)+`"`) {
				lines = append(lines, line)
			}
		}
	}
	// Behind the severity, each begins with its time.
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[1:], b[1:]) })
	for i, line := range lines {
		lines[i] = regexp.MustCompile(`\] "([^"]*)"`).FindStringSubmatch(line)[1]
	}
	return lines
}

func TestAClaimsUIDLeadsThroughTheStoryOfItsSpaceInBothLogs(t *testing.T) {
	t.Parallel()
	c := standing(t)
	n := newNode(t)
	p := n.start(t)
	n.wantPrepared(t, p, c)
	n.wantUnprepared(t, p, c)
	framework.Deallocate(t, env, c.Namespace, c.Name)
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, c.spaces[0].Namespace))
	framework.AwaitLog(t, controller.Log, regexp.MustCompile(`"Namespace deleted".*claimUID="`+string(c.UID)+`"`))
	p.kill()
	want := []string{
		"Claim allocated", "Namespace created", "Space ready", "Claim prepared", "Claim unprepared", "Credentials revoked", "Space deprovisioned", "Namespace deleted",
	}
	// A cluster that is slow may make the controller say that it tries again.
	got := slices.DeleteFunc(story(c, p.log, controller.Log), func(line string) bool {
		return line == "Space not ready" || line == "Reconciler error"
	})
	if !slices.Equal(got, want) {
		t.Errorf("the story is %q, want %q", got, want)
	}
}

// At the highest level, the log has all lines, and client-go logs the bodies of requests.
func TestPluginLog_hasDocumentedLevelsAndNoToken(t *testing.T) {
	t.Parallel()
	c := standing(t)
	n := newNode(t)
	n.arguments = []string{"--v=10", "--logging-format=json"}
	p := n.start(t)
	n.wantPrepared(t, p, c)
	tokens := []string{n.token(t)}
	replaceAccount(t, c)
	n.awaitRenewed(t, c)
	tokens = append(tokens, n.token(t))
	framework.AwaitLog(t, p.log, regexp.MustCompile(`"Tokens renewed"`))
	n.wantUnprepared(t, p, c)
	framework.AwaitLog(t, p.log, regexp.MustCompile(`"Claim unprepared"`))
	p.kill()

	log := p.log.String()
	lines := framework.Lines(t, log)
	framework.CheckLevels(t, lines, "Starting", "Connected to the API server", "Claim prepared", "Tokens renewed", "Claim unprepared")
	var bodies strings.Builder
	for _, line := range lines {
		bodies.WriteString(line.Body)
	}
	if !strings.Contains(bodies.String(), string(c.UID)) {
		t.Error("the claim is not found in the body of an answer, so that this shows nothing about tokens")
	}
	for _, token := range tokens {
		// The first part of all tokens is the same.
		for _, part := range strings.Split(token, ".")[1:] {
			if strings.Contains(log+bodies.String(), part) {
				t.Errorf("there is a token in the log: %.12s…", part)
			}
		}
	}
}

// token is what containers with the only space on the node have now.
func (n *node) token(t *testing.T) string {
	t.Helper()
	dir, _ := n.mount(t)
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(token), ".") != 2 {
		t.Fatal("the token does not look like one")
	}
	return strings.TrimSpace(string(token))
}

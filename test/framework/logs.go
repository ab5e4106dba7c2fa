// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// Line is a line of a log, with --logging-format=json.
type Line struct {
	Message string `json:"msg"`
	// Level is nil for an error.
	Level    *int   `json:"v"`
	ClaimUID string `json:"claimUID"`
	// Body is the body of a request or response, which client-go logs.
	Body string `json:"body"`
}

// Lines parses a log.
func Lines(t testing.TB, log string) []Line {
	t.Helper()
	var out []Line
	for text := range strings.Lines(log) {
		var line Line
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("a line of the log is not JSON: %v: %s", err, text)
		}
		line.Body = decodeDump(line.Body)
		out = append(out, line)
	}
	return out
}

var dumpRow = regexp.MustCompile(`(?m)^[0-9a-f]{8}  ([0-9a-f ]{49})`)

// decodeDump returns a body, also if it was logged as a hexadecimal dump.
func decodeDump(body string) string {
	var out strings.Builder
	for _, row := range dumpRow.FindAllStringSubmatch(body, -1) {
		part, err := hex.DecodeString(strings.ReplaceAll(row[1], " ", ""))
		if err != nil {
			return body
		}
		out.Write(part)
	}
	if out.Len() == 0 {
		return body
	}
	return out.String()
}

// CheckLog fails the test unless the log has each message at the level that docs/logs.md documents,
// and the UID of the claim in each message about a claim.
func CheckLog(t testing.TB, lines []Line, claim types.UID, messages ...string) {
	t.Helper()
	documented := map[string]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\| [^|]+ \\| (\\d) \\|").FindAllStringSubmatch(page(t, "logs.md"), -1) {
		for _, message := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			documented[message[1]] = number(t, row[2])
		}
	}
	withoutClaim := []string{"Starting", "Stopped", "Connected to the API server"}
	for _, message := range messages {
		level, ok := documented[message]
		if !ok {
			t.Errorf("docs/logs.md lacks %q", message)
			continue
		}
		i := slices.IndexFunc(lines, func(l Line) bool { return l.Message == message })
		if i < 0 || lines[i].Level == nil || *lines[i].Level != level {
			t.Errorf("the log has no %q at level %d", message, level)
		} else if !slices.Contains(withoutClaim, message) && lines[i].ClaimUID != string(claim) {
			t.Errorf("%q names claim %q, want %s", message, lines[i].ClaimUID, claim)
		}
	}
}

// AwaitLogCount waits until a log contains words a number of times, and fails the test if it contains them
// more often.
func AwaitLogCount(t testing.TB, log *Output, words string, times int) {
	t.Helper()
	var got int
	Eventually(t, fmt.Sprintf("the log to contain %q %d times", words, times), func(context.Context) error {
		if got = strings.Count(log.String(), words); got < times {
			return fmt.Errorf("%d times: %s", got, log)
		}
		return nil
	})
	if got != times {
		t.Errorf("the log contains %q %d times, want %d: %s", words, got, times, log)
	}
}

// AwaitLog waits until a log matches.
func AwaitLog(t testing.TB, log *Output, pattern *regexp.Regexp) {
	t.Helper()
	Eventually(t, "the log to match "+pattern.String(), func(context.Context) error {
		if !pattern.MatchString(log.String()) {
			return fmt.Errorf("the log: %s", log)
		}
		return nil
	})
}

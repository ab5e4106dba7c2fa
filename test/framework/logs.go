// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Line is what a component said, with --logging-format=json.
type Line struct {
	Message string `json:"msg"`
	// Level is nil for an error.
	Level *int `json:"v"`
	// Body is that of a request or an answer, which client-go logs.
	Body string `json:"body"`
}

// Lines reads a log.
func Lines(t testing.TB, log string) []Line {
	t.Helper()
	var out []Line
	for text := range strings.Lines(log) {
		var line Line
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("a line of the log is not JSON: %v: %s", err, text)
		}
		line.Body = plain(line.Body)
		out = append(out, line)
	}
	return out
}

var dumped = regexp.MustCompile(`(?m)^[0-9a-f]{8}  ([0-9a-f ]{49})`)

// plain is a body that was logged as a hexadecimal dump.
func plain(body string) string {
	var out strings.Builder
	for _, row := range dumped.FindAllStringSubmatch(body, -1) {
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

// LogLevels are the levels of the lines on the page about the logs.
func LogLevels(t testing.TB) map[string]int {
	t.Helper()
	levels := map[string]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\| [^|]+ \\| (\\d) \\|").FindAllStringSubmatch(page(t, "logs.md"), -1) {
		for _, line := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			levels[line[1]] = number(t, row[2])
		}
	}
	return levels
}

// CheckLevels checks what a component said at a level: of the lines on the page none of
// a higher one, each with the level that the page has, and all that are wanted of this
// level and of those below.
func CheckLevels(t testing.TB, level int, lines []Line, wanted ...string) {
	t.Helper()
	levels, said := LogLevels(t), map[string]bool{}
	for _, line := range lines {
		want, known := levels[line.Message]
		// The libraries may have the same words at a higher level.
		if known && line.Level != nil && *line.Level > want && *line.Level <= level {
			continue
		}
		said[line.Message] = true
		if known && (line.Level == nil || *line.Level != want || want > level) {
			t.Errorf("at level %d there is %q, which the page has at %d", level, line.Message, want)
		}
	}
	for _, message := range wanted {
		if want, known := levels[message]; !known {
			t.Errorf("the page about the logs lacks %q", message)
		} else if want <= level && !said[message] {
			t.Errorf("at level %d there is no %q", level, message)
		}
	}
	if bodies := said["Response Body"]; bodies != (level >= 8) {
		t.Errorf("at level %d there are bodies of answers: %t", level, bodies)
	}
}

// AwaitSaid waits until a component has said these words so many times. It fails the
// test if they were said more often.
func AwaitSaid(t testing.TB, log *Output, words string, times int) {
	t.Helper()
	var got int
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, Patience, true, func(context.Context) (bool, error) {
		got = strings.Count(log.String(), words)
		return got >= times, nil
	})
	if err != nil || got != times {
		t.Errorf("the log says %q %d times, want %d (error: %v): %s", words, got, times, err, log)
	}
}

// AwaitLog waits until a component has said something.
func AwaitLog(t testing.TB, log *Output, pattern *regexp.Regexp) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, Patience, true, func(context.Context) (bool, error) {
		return pattern.MatchString(log.String()), nil
	})
	if err != nil {
		t.Fatalf("the log never had %s", pattern)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package testdocs

import (
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// What is tried and what the page says are one list: nothing is said that was not
// tried, and nothing is tried in silence.
func TestTheThreatModelHasALineForEachAttempt(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "test/e2e/threat*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var tried []string
	for _, file := range files {
		rel, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		tried = append(tried, first(regexp.MustCompile(`(?:\bwhat:\s+|t\.Run\()"([^"]+)"`), read(t, rel))...)
	}
	// It holds the actors together.
	tried = slices.DeleteFunc(tried, func(name string) bool { return name == "actors" })
	if len(tried) < 25 {
		t.Fatalf("found only %d attempts: %q", len(tried), tried)
	}
	said := first(regexp.MustCompile(`(?m)^\| … ([^|]+?) \|`), read(t, "docs/threat-model.md"))
	slices.Sort(tried)
	slices.Sort(said)
	for _, attempt := range tried {
		if !slices.Contains(said, attempt) {
			t.Errorf("the page does not say: %s", attempt)
		}
	}
	for _, attempt := range said {
		if !slices.Contains(tried, attempt) {
			t.Errorf("nobody tries what the page says: %s", attempt)
		}
	}
	if len(tried) != len(said) {
		t.Errorf("there are %d attempts and %d lines", len(tried), len(said))
	}
}

func first(expression *regexp.Regexp, text string) []string {
	var out []string
	for _, match := range expression.FindAllStringSubmatch(text, -1) {
		out = append(out, match[1])
	}
	return out
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

func TestReasons_areOnTheEventsPage(t *testing.T) {
	constants := firstGroups(t, "status.go", `(?m)^\tReason\w+ += "(\w+)"`)
	rows := firstGroups(t, "../../../../docs/events.md", "(?m)^\\| `(\\w+)` \\|")
	if len(constants) == 0 || !slices.Equal(constants, rows) {
		t.Errorf("docs/events.md has the reasons\n%q\nand status.go\n%q", rows, constants)
	}
}

// firstGroups returns what the first group of an expression matches in a file, sorted.
func firstGroups(t *testing.T, path, expression string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile(expression).FindAllSubmatch(text, -1) {
		found = append(found, string(match[1]))
	}
	slices.Sort(found)
	return found
}

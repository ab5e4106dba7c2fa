// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

func TestReasons_areOnTheEventsPage(t *testing.T) {
	source, err := os.ReadFile("status.go")
	if err != nil {
		t.Fatal(err)
	}
	find := func(expression, text string) []string {
		var found []string
		for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		slices.Sort(found)
		return found
	}
	constants, rows := find(`(?m)^\tReason\w+ += "(\w+)"`, string(source)), find("(?m)^\\| `(\\w+)` \\|", readDoc(t, "events.md"))
	if len(constants) == 0 || !slices.Equal(constants, rows) {
		t.Errorf("docs/events.md has the reasons\n%q\nand status.go\n%q", rows, constants)
	}
}

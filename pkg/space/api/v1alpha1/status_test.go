// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestReasons_haveDocumentedEvents(t *testing.T) {
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

func TestReasons_haveTroubleshooting(t *testing.T) {
	warnings := regexp.MustCompile("(?m)^\\| (`\\w+`) \\| Warning").FindAllStringSubmatch(readDoc(t, "events.md"), -1)
	if len(warnings) == 0 {
		t.Error("docs/events.md has no warnings")
	}
	for _, match := range warnings {
		if !strings.Contains(readDoc(t, "troubleshooting.md"), match[1]) {
			t.Errorf("docs/troubleshooting.md has no row for %s", match[1])
		}
	}
}

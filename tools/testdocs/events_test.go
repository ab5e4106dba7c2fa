// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package testdocs

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A test that is named for a reason has to know of it.
func TestTheTestsThatShowEventsKnowTheReasons(t *testing.T) {
	sources := map[string]string{}
	for _, dir := range []string{"pkg", "test"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			text := read(t, rel)
			for _, name := range first(regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`), text) {
				sources[name] = text
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rows := regexp.MustCompile(`(?m)^\| \[(\w+)\]\(#\w+\) \|.*\| ([^|]+) \|$`).FindAllStringSubmatch(read(t, "docs/events.md"), -1)
	if len(rows) < 12 {
		t.Errorf("found only %d reasons", len(rows))
	}
	for _, row := range rows {
		for _, name := range first(regexp.MustCompile("`(Test[A-Za-z0-9]+)`"), row[2]) {
			if !strings.Contains(sources[name], row[1]) {
				t.Errorf("%s: the file of %s does not know it", row[1], name)
			}
		}
	}
}

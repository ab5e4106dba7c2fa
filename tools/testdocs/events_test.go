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

// where says in which directory the tests with a letter run. Those without are unit tests.
var where = map[string]string{"I": "test/integration/", "N": "test/node/", "E": "test/e2e/", "": "pkg/"}

// Each reason is provoked on a real API server, by a test that awaits the event. A test
// that is named for a reason has to know of it.
func TestEachEventIsProvokedByATestOnARealAPIServer(t *testing.T) {
	tests := sources(t)
	rows := regexp.MustCompile(`(?m)^\| \[(\w+)\]\(#\w+\) \|.*\| ([^|]+) \|$`).FindAllStringSubmatch(read(t, "docs/events.md"), -1)
	if len(rows) < 12 {
		t.Errorf("found only %d reasons", len(rows))
	}
	for _, row := range rows {
		reason, provoked := row[1], false
		awaits := regexp.MustCompile(`(?m)^.*\b(About|said)\(.*\bspaceapi\.Reason` + reason + `\b`)
		for _, named := range regexp.MustCompile("(?:([A-Z]) )?`(Test[A-Za-z0-9_]+)`").FindAllStringSubmatch(row[2], -1) {
			letter, test := named[1], tests[named[2]]
			switch {
			case where[letter] == "" || !strings.HasPrefix(test.file, where[letter]):
				t.Errorf("%s: %s is in %q, and the letter is %q", reason, named[2], test.file, letter)
			case letter == "" && !strings.Contains(test.text, reason):
				t.Errorf("%s: the file of %s does not know it", reason, named[2])
			case letter != "" && !awaits.MatchString(test.text):
				t.Errorf("%s: the file of %s awaits no such event", reason, named[2])
			}
			provoked = provoked || letter != ""
		}
		if !provoked {
			t.Errorf("%s: no test provokes it on a real API server", reason)
		}
	}
}

// source is where a test is, and the text of the file.
type source struct{ file, text string }

// sources finds all tests of the product, by name.
func sources(t *testing.T) map[string]source {
	t.Helper()
	found := map[string]source{}
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
			for _, name := range first(regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`), text) {
				found[name] = source{filepath.ToSlash(rel), text}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

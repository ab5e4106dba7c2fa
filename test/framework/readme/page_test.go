// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const examples = "../../../demo/examples"

// markdown replaces ”' by the fence of a code block, which Go's raw strings cannot have.
func markdown(text string) string { return strings.ReplaceAll(text, "'''", "```") }

func TestParse_returnsSteps(t *testing.T) {
	page, err := Parse("README.md", markdown(`'''bash
one
two
'''
* in a list
  '''console
  $ first \
      --flag
  NAME   AGE
  $ second
  '''
`))
	want := []Step{
		{Line: 2, Script: "one\ntwo\n"},
		{Line: 7, Script: "first \\\n    --flag", Console: true, Output: "NAME   AGE\n"},
		{Line: 10, Script: "second", Console: true, Output: "\n"},
	}
	if err != nil || !reflect.DeepEqual(page.Steps, want) {
		t.Errorf("got %+v, error %v, want %+v", page, err, want)
	}
}

func TestParse_rejectsWhatItCannotCheck(t *testing.T) {
	for text, want := range map[string]string{
		"'''json\n{}\n'''\n":           `README.md:2: the language of the code block is "json"`,
		"'''bash\nls\n":                "a code block has no end",
		"'''bash\nls\n'''bash\nls\n":   "a code block has no end",
		"'''console\noutput\n'''\n":    "README.md:2: the console block does not begin with a command",
		"text\n\n'''console\n\n'''\n'": "README.md:4: the console block does not begin with a command",
	} {
		if _, err := Parse("README.md", markdown(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func TestMissingYAML_ignoresIndentation(t *testing.T) {
	const file = "pools:\n  - name: few\n\n    limit: 2\n"
	for block, missing := range map[string]bool{
		"- name: few\n\n  limit: 2\n": false, "pools:\n": false,
		"- name: few\nlimit: 2\n": true, "name: few\n": true, "- name: few\n\n  limit: 21\n": true,
	} {
		if got := (&Page{YAML: []string{block}}).MissingYAML("a: 1\n", file); (len(got) > 0) != missing {
			t.Errorf("%q: missing %q", block, got)
		}
	}
}

// The commands of the examples run on a cluster, in test/e2e.
func TestExamples_showTheirFiles(t *testing.T) {
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{examples}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	index := read("README.md")
	pages, err := filepath.Glob(filepath.Join(examples, "*", "README.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no examples, error %v", err)
	}
	for _, path := range pages {
		name := filepath.Base(filepath.Dir(path))
		if !strings.Contains(index, "]("+name+"/README.md)") {
			t.Errorf("the index has no link to %s", name)
		}
		page, err := Parse(path, read(name, "README.md"))
		if err != nil || len(page.Steps) == 0 {
			t.Errorf("%s has no commands, error %v", name, err)
			continue
		}
		files := []string{read("values.yaml")}
		manifests, _ := filepath.Glob(filepath.Join(examples, name, "*.yaml"))
		for _, manifest := range manifests {
			files = append(files, read(name, filepath.Base(manifest)))
		}
		for _, missing := range page.MissingYAML(files...) {
			t.Errorf("%s: no file has these lines:\n%s", path, missing)
		}
	}
}

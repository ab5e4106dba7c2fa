// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"reflect"
	"strings"
	"testing"
)

// markdown lets tests be written with ' in place of `, which Go's strings can't have.
func markdown(text string) string { return strings.ReplaceAll(text, "'''", "```") }

func TestBlocksBecomeSteps(t *testing.T) {
	t.Parallel()
	page, err := Parse("README.md", markdown(`# Title
'''bash
one
two
'''

'''yaml
  spec:
    a: 1
'''
* in a list
  '''console
  $ first \
      --flag
  NAME   AGE

  $ second
  $ third
  Error from server (NotFound): it is not there
  '''
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Page{
		Name: "README.md",
		Steps: []Step{
			{Line: 3, Script: "one\ntwo"},
			{Line: 13, Script: "first \\\n    --flag", Compared: true, Expected: []string{"NAME   AGE"}},
			{Line: 17, Script: "second", Compared: true},
			{Line: 18, Script: "third", Compared: true, Expected: []string{"Error from server (NotFound): it is not there"}},
		},
		Shown: []Shown{{Line: 8, Lines: []string{"spec:", "  a: 1"}}},
	}
	if !reflect.DeepEqual(page, want) {
		t.Errorf("parsed:\n%+v\nwant:\n%+v", page, want)
	}
	for i, want := range []bool{false, false, false, true} {
		if got := page.Steps[i].MayFail(); got != want {
			t.Errorf("step %d may fail: %v, want %v", i, got, want)
		}
	}
}

func TestWhatCannotBeCheckedIsRefused(t *testing.T) {
	t.Parallel()
	for says, text := range map[string]string{
		`README.md:1: the block's language is "json"`:         "'''json\n{}\n'''\n",
		`README.md:1: the block's language is ""`:             "'''\n$ ls\n'''\n",
		`README.md:2: the block has no end`:                   "text\n'''bash\nls\n",
		`README.md:3: a block begins within the one of line `: "'''bash\nls\n'''bash\nls\n'''\n",
		`README.md:2: a console block has to begin with a `:   "'''console\noutput\n'''\n",
		`README.md:1: the console block is empty`:             "'''console\n'''\n",
	} {
		if _, err := Parse("README.md", markdown(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("parsed %q with error %v, want %s", text, err, says)
		}
	}
}

func TestShownLinesHaveToBeInAFile(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"values.yaml":  "pools:\n  - name: spaces\n  - name: few\n    limit: 2\n",
		"example.yaml": "kind: Pod\nspec:\n  containers:\n    - name: ctr\n\n      image: x\n",
	}
	for shown, there := range map[string]bool{
		"- name: few\n  limit: 2":           true,
		"    - name: few\n      limit: 2":   true,
		"- name: ctr\n\n  image: x\n":       true,
		"pools:\n  - name: spaces":          true,
		"- name: few\n  limit: 3":           false,
		"- name: few\nlimit: 2":             false,
		"limit: 2\nkind: Pod":               false,
		"- name: spaces\n  limit: 2":        false,
		"name: few":                         false,
		"":                                  false,
		"  - name: ctr\n    image: x\n":     false,
		"kind: Pod\nspec:\n  containers:\n": true,
	} {
		page, err := Parse("README.md", markdown("'''yaml\n"+shown+"\n'''\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := page.CheckShown(files); (err == nil) != there {
			t.Errorf("%q: error %v, want it to be there: %v", shown, err, there)
		}
	}
}

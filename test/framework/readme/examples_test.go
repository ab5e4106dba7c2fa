// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const examples = "../../../demo/examples"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the examples do is for the tests on a cluster. That they can be found, and
// show what is in their files, is seen without one.
func TestExamplesShowWhatIsInTheirFiles(t *testing.T) {
	t.Parallel()
	index := read(t, filepath.Join(examples, "README.md"))
	if _, err := Parse("README.md", index); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		name := entry.Name()
		if !strings.Contains(index, "]("+name+"/README.md)") {
			t.Errorf("the index does not lead to %s/README.md", name)
		}
		page, err := Parse(name+"/README.md", read(t, filepath.Join(examples, name, "README.md")))
		if err != nil {
			t.Error(err)
			continue
		}
		if len(page.Steps) == 0 {
			t.Errorf("%s/README.md has no commands", name)
		}
		files := map[string]string{"values.yaml": read(t, filepath.Join(examples, "values.yaml"))}
		paths, err := filepath.Glob(filepath.Join(examples, name, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			files[path] = read(t, path)
			if strings.Contains(files[path], "kind: Namespace") && !strings.Contains(files[path], "name: example-"+name+"\n") {
				t.Errorf("%s makes another namespace than example-%s", path, name)
			}
		}
		if err := page.CheckShown(files); err != nil {
			t.Error(err)
		}
	}
}

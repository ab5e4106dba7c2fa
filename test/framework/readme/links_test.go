// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	codeBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	named     = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	declared  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	// dropped are the characters that GitHub removes from anchors.
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// text returns a page without its code blocks.
func text(t *testing.T, path string) string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return codeBlock.ReplaceAllString(string(page), "")
}

// anchors returns the anchors of a page's headings.
func anchors(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	for _, match := range heading.FindAllStringSubmatch(text(t, path), -1) {
		out = append(out, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return out
}

// files returns the files of the repository whose names end with the suffix.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var out []string
	if err := filepath.WalkDir("../../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "build"}, entry.Name()) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, suffix) {
			out = append(out, path)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPages_linkToFilesAndHeadingsThatExist(t *testing.T) {
	for _, path := range files(t, ".md") {
		for _, match := range link.FindAllStringSubmatch(text(t, path), -1) {
			file, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, match[1])
			} else if anchor != "" && filepath.Ext(target) == ".md" && !slices.Contains(anchors(t, target), anchor) {
				t.Errorf("%s links to %s, which has no such heading", path, match[1])
			}
		}
	}
}

func TestPages_nameTestsThatExist(t *testing.T) {
	exist := map[string]bool{}
	for _, path := range files(t, "_test.go") {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range declared.FindAllSubmatch(source, -1) {
			exist[string(match[1])] = true
		}
	}
	for _, path := range files(t, ".md") {
		for _, match := range named.FindAllStringSubmatch(text(t, path), -1) {
			if !exist[match[1]] {
				t.Errorf("%s names %s, which does not exist", path, match[1])
			}
		}
	}
}

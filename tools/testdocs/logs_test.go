// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package testdocs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What docs/logs.md says of the levels is what the code has: all lines, and no other.
func TestTheLinesOfTheLogAreOnThePageWithTheirLevels(t *testing.T) {
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\| [^|]+ \\| (\\d) \\|").FindAllStringSubmatch(read(t, "docs/logs.md"), -1) {
		for _, line := range first(regexp.MustCompile("`([^`]+)`"), row[1]) {
			listed[line] = row[2]
		}
	}
	if len(listed) < 30 {
		t.Errorf("found only %d lines on the page", len(listed))
	}
	shown := map[string]bool{}
	for message, level := range messages(t) {
		found := false
		for line, want := range listed {
			if !message.is(line) {
				continue
			}
			found, shown[line] = true, true
			if want != level {
				t.Errorf("%q is of level %s and not %s", line, level, want)
			}
		}
		if !found {
			t.Errorf("the page lacks %q, level %s", message.text, level)
		}
	}
	for line := range listed {
		if !shown[line] {
			t.Errorf("the page has %q, which nothing says", line)
		}
	}
}

// message is what a line of the log says, or, if there is more, how it begins.
type message struct {
	text string
	more bool
}

// is says whether a line on the page, of which the end can be left out, is this one.
func (m message) is(line string) bool {
	begin, cut := strings.CutSuffix(line, "…")
	return line == m.text || m.more && strings.HasPrefix(line, m.text) || cut && strings.HasPrefix(m.text, begin)
}

// messages are those of the product's log that are no errors, with their levels.
func messages(t *testing.T) map[message]string {
	t.Helper()
	found := map[message]string{}
	err := filepath.WalkDir(filepath.Join(root, "pkg"), func(path string, entry fs.DirEntry, err error) error {
		// The plugin of kubectl prints, and logs nothing.
		if err == nil && entry.IsDir() && entry.Name() == "kubectl" {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || method.Sel.Name != "Info" {
				return true
			}
			level := "0"
			if verbose, ok := method.X.(*ast.CallExpr); ok {
				if v, ok := verbose.Fun.(*ast.SelectorExpr); ok && v.Sel.Name == "V" {
					level = verbose.Args[0].(*ast.BasicLit).Value
				}
			}
			text := call.Args[0]
			m := message{}
			for sum, ok := text.(*ast.BinaryExpr); ok; sum, ok = text.(*ast.BinaryExpr) {
				text, m.more = sum.X, true
			}
			literal, ok := text.(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a line of the log that does not begin with a literal", path)
				return true
			}
			if m.text, err = strconv.Unquote(literal.Value); err != nil {
				t.Error(err)
			}
			found[m] = level
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

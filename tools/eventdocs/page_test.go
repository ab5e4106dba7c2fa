// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../../"

func TestThePageIsUpToDate(t *testing.T) {
	want, err := generate(root + source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(root + page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error(page + " is not what the comments say: run make generate")
	}
}

// What the code says and what the page has are one list.
func TestEachReasonInTheCodeIsOnThePage(t *testing.T) {
	all, err := reasons(root + source)
	if err != nil {
		t.Fatal(err)
	}
	used := usedReasons(t)
	for _, r := range all {
		if !used[r.constant] {
			t.Errorf("nothing has the reason %s", r.constant)
		}
		delete(used, r.constant)
	}
	for constant := range used {
		t.Errorf("%s is used and not on the page", constant)
	}
}

// usedReasons returns the names of the constants that the product uses as reasons. A
// reason that is written as a literal where an event is recorded is an error.
func usedReasons(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	err := filepath.WalkDir(root+"pkg", func(path string, entry fs.DirEntry, err error) error {
		// The plugin of kubectl reads events and records none.
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
			switch n := node.(type) {
			case *ast.SelectorExpr:
				if from, ok := n.X.(*ast.Ident); ok && from.Name == "spaceapi" && strings.HasPrefix(n.Sel.Name, "Reason") {
					used[n.Sel.Name] = true
				}
			case *ast.CallExpr:
				method, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || len(n.Args) < 3 || !strings.HasPrefix(strings.ToLower(method.Sel.Name), "event") {
					break
				}
				for _, argument := range n.Args[:len(n.Args)-1] {
					if literal, ok := argument.(*ast.BasicLit); ok && !strings.Contains(literal.Value, " ") {
						t.Errorf("%s: %s is no constant of the API", path, literal.Value)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func TestAReasonThatIsNotDescribedIsAnError(t *testing.T) {
	text, err := os.ReadFile(root + source)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ from, to, want string }{
		"no remedy":       {"\t// Remedy: nothing to do.\n", "", "the comment of ReasonProvisioned does not say"},
		"another name":    {"// ReasonDeleted means", "// ReasonGone means", "the comment of ReasonDeleted does not say"},
		"an unknown type": {"Event: Normal,", "Event: Fine,", "the comment of ReasonProvisioned does not say"},
		"no test":         {`"Repaired"`, `"Mended"`, "no test is named for Mended"},
		"no reason":       {"ReasonRepaired = ", "Repaired = ", "tests are named for [Repaired]"},
		"no Go":           {"package", "pack", "parse the constants"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := filepath.Join(t.TempDir(), "status.go")
			if err := os.WriteFile(changed, bytes.Replace(text, []byte(test.from), []byte(test.to), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := generate(changed); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

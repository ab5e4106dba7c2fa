// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
)

// reason is one reason, as people see it.
type reason struct {
	// constant is the name in Go, and name what is written.
	constant, name string
	meaning        string
	// ready is the status of the condition, empty for a reason of events only.
	ready  string
	kind   string
	on     string
	remedy string
}

// parts are the meaning and what follows it in a comment.
var parts = regexp.MustCompile(`(?s)^(\w+) means that (.+?)\n\n(?:Ready: (True|False)\n)?Event: (Normal|Warning), on (.+?)\.\nRemedy: (.+)$`)

// reasons reads the constants of a file whose names begin with Reason.
func reasons(path string) ([]reason, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse the constants: %w", err)
	}
	var out []reason
	for _, declaration := range file.Decls {
		group, ok := declaration.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			one := spec.(*ast.ValueSpec)
			constant := one.Names[0].Name
			if !strings.HasPrefix(constant, "Reason") {
				continue
			}
			value, err := strconv.Unquote(one.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				return nil, fmt.Errorf("read the value of %s: %w", constant, err)
			}
			said := parts.FindStringSubmatch(one.Doc.Text())
			if said == nil || said[1] != constant {
				return nil, fmt.Errorf("the comment of %s does not say what it means, and in a last paragraph Event: and Remedy", constant)
			}
			out = append(out, reason{
				constant: constant, name: value, meaning: sentence(said[2]),
				ready: said[3], kind: said[4], on: plain(said[5]), remedy: sentence(said[6]),
			})
		}
	}
	return out, nil
}

// plain puts a comment's lines together.
func plain(text string) string { return strings.Join(strings.Fields(text), " ") }

// sentence is plain with a capital letter.
func sentence(text string) string {
	text = plain(text)
	return strings.ToUpper(text[:1]) + text[1:]
}

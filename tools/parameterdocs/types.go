// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// field is one field of a kind, as users write it.
type field struct {
	name    string
	typ     string
	meaning string
	byDefault,
	bounds string
	// inner are the fields of an object, values those of an enumeration.
	inner  []field
	values []value
}

// value is one that an enumeration has.
type value struct{ name, meaning string }

// kind is one kind of parameters.
type kind struct {
	name, meaning, example string
	fields                 []field
}

// reader reads the types of one file.
type reader struct {
	types  map[string]*doc.Type
	values map[string][]value
}

func newReader(paths ...string) (*reader, error) {
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, path := range paths {
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse the types: %w", err)
		}
		parsed = append(parsed, file)
	}
	pkg, err := doc.NewFromFiles(files, parsed, "v1alpha1")
	if err != nil {
		return nil, fmt.Errorf("read the types' comments: %w", err)
	}
	r := &reader{types: map[string]*doc.Type{}, values: map[string][]value{}}
	for _, t := range pkg.Types {
		r.types[t.Name] = t
		for _, c := range t.Consts {
			for _, spec := range c.Decl.Specs {
				spec := spec.(*ast.ValueSpec)
				text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					return nil, fmt.Errorf("read the value of %s: %w", spec.Names[0].Name, err)
				}
				meaning := strings.TrimPrefix(plain(spec.Doc.Text()), spec.Names[0].Name+" ")
				r.values[t.Name] = append(r.values[t.Name], value{text, meaning})
			}
		}
	}
	return r, nil
}

// kind reads a kind. Its example is the indented part of the comment.
func (r *reader) kind(name string) (kind, error) {
	t, ok := r.types[name]
	if !ok {
		return kind{}, fmt.Errorf("there is no type %s", name)
	}
	meaning, example, ok := strings.Cut(t.Doc, "\nExample:\n")
	if !ok {
		return kind{}, fmt.Errorf("type %s: the comment has no example", name)
	}
	fields, err := r.fields(name)
	return kind{name, plain(meaning), strings.TrimSpace(strings.ReplaceAll(example, "\n\t", "\n")), fields}, err
}

func (r *reader) fields(typeName string) ([]field, error) {
	structure, ok := r.types[typeName].Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
	if !ok {
		return nil, fmt.Errorf("type %s is no struct", typeName)
	}
	var out []field
	for _, f := range structure.Fields.List {
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			return nil, fmt.Errorf("type %s: read a field's tag: %w", typeName, err)
		}
		json, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		// What is inlined is the kind and version.
		if json == "" {
			continue
		}
		one, err := r.field(f, json)
		if err != nil {
			return nil, fmt.Errorf("type %s, field %s: %w", typeName, f.Names[0].Name, err)
		}
		out = append(out, one)
	}
	return out, nil
}

// parts are the meaning, the default, and the bounds that a field has in a comment.
var parts = regexp.MustCompile(`(?s)^(.+?)\n\nDefault: (.+?)\n(?:Bounds: (.+?)\n)?$`)

func (r *reader) field(f *ast.Field, json string) (field, error) {
	said := parts.FindStringSubmatch(f.Doc.Text())
	if said == nil {
		return field{}, fmt.Errorf("the comment does not end with a paragraph of Default: and Bounds")
	}
	// The comment begins with the name, as is the custom, which the page has as a
	// heading already.
	name := f.Names[0].Name
	meaning, ok := strings.CutPrefix(plain(said[1]), name+" ")
	if !ok {
		return field{}, fmt.Errorf("the comment does not begin with the name")
	}
	out := field{name: json, meaning: "`" + json + "` " + meaning, byDefault: plain(said[2]), bounds: plain(said[3])}
	var err error
	if out.typ, err = r.describe(f.Type, &out); err != nil {
		return field{}, err
	}
	if out.bounds == "" && out.typ != "boolean" {
		return field{}, fmt.Errorf("the comment has no bounds")
	}
	return out, nil
}

// describe names a type as users know it, and adds what is in it.
func (r *reader) describe(t ast.Expr, to *field) (string, error) {
	switch t := t.(type) {
	case *ast.StarExpr:
		return r.describe(t.X, to)
	case *ast.ArrayType:
		of, err := r.describe(t.Elt, to)
		return "list of " + of + "s", err
	case *ast.MapType:
		of, err := r.describe(t.Value, to)
		return "map of " + of + "s", err
	case *ast.SelectorExpr:
		known := map[string]string{"Duration": "duration", "ResourceList": "map of quantities", "LimitRangeItem": "LimitRangeItem"}
		if name, ok := known[t.Sel.Name]; ok {
			return name, nil
		}
	case *ast.Ident:
		switch {
		case t.Name == "string":
			return "string", nil
		case t.Name == "bool":
			return "boolean", nil
		case len(r.values[t.Name]) > 0:
			to.values = r.values[t.Name]
			return "string", nil
		case r.types[t.Name] != nil:
			var err error
			to.inner, err = r.fields(t.Name)
			return "object", err
		}
	}
	return "", fmt.Errorf("the page has no words for the type %v", t)
}

// plain puts a comment's lines together.
func plain(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxEntries is what one map or list may have.
const maxEntries = 64

// check is what a value has to be.
type check interface {
	// problems says what is wrong with a value at a path.
	problems(path string, value any) []string
	// cel is an expression for the same list, of expressions for the path and the value.
	cel(path, value string) string
}

// text is a string that keeps rules. The first that it breaks is told.
type text struct {
	// what it is. Empty: a string.
	what  string
	rules []rule
	// empty are the rules for an empty string, which is as good as none if there are none.
	empty bool
}

func (t text) problems(path string, value any) []string {
	word, ok := value.(string)
	switch {
	case !ok:
		return []string{mistyped(path, value, cmp.Or(t.what, "a string"))}
	case word == "" && !t.empty:
		return nil
	}
	return firstBroken(t.rules, path, word)
}

func (t text) cel(path, value string) string {
	broken := celFirstBroken(t.rules, path, value)
	if !t.empty {
		broken = fmt.Sprintf("%s == '' ? [] : %s", value, broken)
	}
	return fmt.Sprintf("(type(%s) != string ? [%s] : %s)", value, celMistyped(path, value, cmp.Or(t.what, "a string")), broken)
}

// boolean is true or false.
type boolean struct{}

func (boolean) problems(path string, value any) []string {
	if _, ok := value.(bool); ok {
		return nil
	}
	return []string{mistyped(path, value, "true or false")}
}

func (boolean) cel(path, value string) string {
	return fmt.Sprintf("(type(%s) == bool ? [] : [%s])", value, celMistyped(path, value, "true or false"))
}

// entries is a map, of which each entry is told with the first that is wrong.
type entries struct {
	// keys are rules for keys, which are told as values of the map.
	keys []rule
	// reserved are rules for keys, which are told as entries.
	reserved []rule
	// value is about the values. In CEL, the key is in the variable k.
	value func(key string) check
	// least says that no more is told than the least of the problems.
	least bool
}

func (e entries) problems(path string, value any) []string {
	given, ok := value.(map[string]any)
	if !ok {
		return []string{mistyped(path, value, "an object")}
	}
	if len(given) > maxEntries {
		return []string{tooMany(path, len(given), maxEntries)}
	}
	var out []string
	for key, value := range given {
		at := path + "[" + Shortened(key) + "]"
		found := firstBroken(e.keys, path, key)
		if len(found) == 0 {
			found = firstBroken(e.reserved, at, key)
		}
		if len(found) == 0 {
			found = e.value(key).problems(at, value)
		}
		out = append(out, found[:min(1, len(found))]...)
	}
	slices.Sort(out)
	return out
}

func (e entries) cel(path, value string) string {
	at := path + " + '[' + " + celShortened("k") + " + ']'"
	each := e.value("").cel(at, value+"[k]")
	for _, rules := range []struct {
		rules []rule
		path  string
	}{{e.reserved, at}, {e.keys, path}} {
		for _, r := range slices.Backward(rules.rules) {
			each = fmt.Sprintf("%s ? [%s] : %s", r.celBroken("k"), r.celProblem(rules.path, "k"), each)
		}
	}
	found := fmt.Sprintf("%s.map(k, %s).filter(l, size(l) > 0).map(l, l[0])", value, each)
	if e.least {
		found = celLeast(found)
	} else {
		found = celSorted(found)
	}
	return fmt.Sprintf("(type(%[1]s) != map ? [%[2]s] : size(%[1]s) > %[3]d ? [%[4]s] : %[5]s)", value,
		celMistyped(path, value, "an object"), maxEntries, celTooMany(path, value, maxEntries), found)
}

// items is a list, of which each item is told with the first that is wrong.
type items struct {
	most int
	// item is about one of them. In CEL, its index is in the variable i.
	item check
	// distinct is the field that no two items have the same of, with a dot before
	// it. Empty: the items themselves.
	distinct string
}

func (l items) problems(path string, value any) (out []string) {
	given, ok := value.([]any)
	switch {
	case !ok:
		return []string{mistyped(path, value, "a list")}
	case len(given) > l.most:
		return []string{tooMany(path, len(given), l.most)}
	}
	for i, item := range given {
		at := fmt.Sprintf("%s[%d]", path, i)
		found := l.item.problems(at, item)
		if word := l.distinguishes(item); len(found) == 0 && slices.ContainsFunc(given[:i], func(other any) bool { return l.distinguishes(other) == word }) {
			found = []string{at + l.distinct + ": Duplicate value: " + mark + word + mark}
		}
		out = append(out, found[:min(1, len(found))]...)
	}
	return out
}

// distinguishes returns what no two items have the same of.
func (l items) distinguishes(item any) string {
	if given, ok := item.(map[string]any); ok && l.distinct != "" {
		item = given[l.distinct[1:]]
	}
	word, _ := item.(string)
	return word
}

func (l items) cel(path, value string) string {
	at := path + " + '[' + string(i) + ']'"
	same, word := "f == e", "e"
	if l.distinct != "" {
		same, word = fmt.Sprintf("type(f) == map && f[?%[1]s].orValue('') == e%[2]s", celString(l.distinct[1:]), l.distinct), "e"+l.distinct
	}
	each := fmt.Sprintf("[%s].map(w, size(w) > 0 ? w : %s.exists(j, f, j < i && %s) ? [%s + %s + %s + %s] : [])[0]",
		l.item.cel(at, "e"), value, same, at, celString(l.distinct+": Duplicate value: "+mark), word, celString(mark))
	return fmt.Sprintf("(type(%[1]s) != list ? [%[2]s] : size(%[1]s) > %[3]d ? [%[4]s] : %[1]s.transformList(i, e, %[5]s).filter(l, size(l) > 0).map(l, l[0]))", value,
		celMistyped(path, value, "a list"), l.most, celTooMany(path, value, l.most), each)
}

// field is one of an object.
type field struct {
	name string
	check
}

// object has no other fields than these. One that is null is as good as absent.
type object struct {
	fields []field
	// whole is about all of it. It may be nil.
	whole check
}

func (o object) names() []string {
	var out []string
	for _, f := range o.fields {
		out = append(out, f.name)
	}
	return out
}

func (o object) problems(path string, value any) []string {
	given, ok := value.(map[string]any)
	if !ok {
		return []string{mistyped(path, value, "an object")}
	}
	out := o.unknown(path+".", given)
	for _, f := range o.fields {
		if value := given[f.name]; value != nil {
			out = append(out, f.problems(path+"."+f.name, value)...)
		}
	}
	if o.whole != nil {
		out = append(out, o.whole.problems(path, value)...)
	}
	return out
}

func (o object) cel(path, value string) string {
	lists := []string{o.celUnknown(path+" + '.' + ", value)}
	for _, f := range o.fields {
		lists = append(lists, f.celIn(value, path+" + "+celString("."+f.name)))
	}
	if o.whole != nil {
		lists = append(lists, o.whole.cel(path, value))
	}
	return fmt.Sprintf("(type(%s) != map ? [%s] : %s)", value, celMistyped(path, value, "an object"), strings.Join(lists, " + "))
}

// unknown are the problems with fields that an object should not have.
func (o object) unknown(prefix string, given map[string]any) []string {
	var out []string
	for name := range maps.Keys(given) {
		if !slices.Contains(o.names(), name) {
			out = append(out, "unknown field "+mark+prefix+name+mark)
		}
	}
	slices.Sort(out)
	return out
}

// celUnknown is [object.unknown].
func (o object) celUnknown(prefix, value string) string {
	return celSorted(o.celUnknownTexts(prefix, value))
}

func (o object) celUnknownTexts(prefix, value string) string {
	return fmt.Sprintf("%s.filter(k, !(k in %s)).map(k, 'unknown field ' + %s + %sk + %[3]s)", value, celList(o.names()), celString(mark), prefix)
}

// celIn is about the field of an object.
func (f field) celIn(object, path string) string {
	value := object + "." + f.name
	return fmt.Sprintf("(!has(%[1]s) || %[1]s == null ? [] : %[2]s)", value, f.cel(path, value))
}

func celList(words []string) string {
	var out []string
	for _, word := range words {
		out = append(out, celString(word))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func tooMany(path string, n, most int) string {
	return fmt.Sprintf("%s: Too many: %d: must have at most %d items", path, n, most)
}

func celTooMany(path, value string, most int) string {
	return fmt.Sprintf("%s + ': Too many: ' + string(size(%s)) + ': must have at most %d items'", path, value, most)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// rule is one that a word keeps or breaks. It is said twice, in Go and in CEL.
type rule struct {
	broken func(word string) bool
	// celBroken is an expression for the same, of one for the word.
	celBroken func(word string) string
	// kind of problem, which is told with the word unless it is hidden.
	kind   string
	hidden bool
	why    string
}

func (r rule) problem(path, word string) string {
	out := path + ": " + r.kind + ": "
	if !r.hidden {
		out += mark + word + mark + ": "
	}
	return out + r.why
}

// celProblem is [rule.problem].
func (r rule) celProblem(path, word string) string {
	if r.hidden {
		return path + " + " + celString(": "+r.kind+": "+r.why)
	}
	return fmt.Sprintf("%s + %s + %s + %s", path, celString(": "+r.kind+": "+mark), word, celString(mark+": "+r.why))
}

func firstBroken(rules []rule, path, word string) []string {
	for _, r := range rules {
		if r.broken(word) {
			return []string{r.problem(path, word)}
		}
	}
	return nil
}

// celFirstBroken is [firstBroken].
func celFirstBroken(rules []rule, path, word string) string {
	var out strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&out, "%s ? [%s] : ", r.celBroken(word), r.celProblem(path, word))
	}
	return out.String() + "[]"
}

func invalidIf(broken func(string) bool, celBroken func(string) string, why string) rule {
	return rule{broken: broken, celBroken: celBroken, kind: "Invalid value", why: why}
}

// matches is a rule that words are of a form.
func matches(form *regexp.Regexp, why string) rule {
	return invalidIf(
		func(word string) bool { return !form.MatchString(word) },
		func(word string) string { return fmt.Sprintf("!%s.matches(%s)", word, celString(form.String())) }, why)
}

// matchesNot is a rule that words are not of a form.
func matchesNot(form *regexp.Regexp, why string) rule {
	return invalidIf(form.MatchString,
		func(word string) string { return fmt.Sprintf("%s.matches(%s)", word, celString(form.String())) }, why)
}

// isNot is a rule against one word.
func isNot(refused, why string) rule {
	return invalidIf(
		func(word string) bool { return word == refused },
		func(word string) string { return fmt.Sprintf("%s == %s", word, celString(refused)) }, why)
}

func hasNot(refused, why string) rule {
	return invalidIf(
		func(word string) bool { return strings.Contains(word, refused) },
		func(word string) string { return fmt.Sprintf("%s.contains(%s)", word, celString(refused)) }, why)
}

// noLonger is a rule about the number of characters.
func noLonger(most int) rule {
	return invalidIf(
		func(word string) bool { return utf8.RuneCountInString(word) > most },
		func(word string) string { return fmt.Sprintf("size(%s) > %d", word, most) },
		fmt.Sprintf("must have at most %d characters", most))
}

// required is a rule that a word is not empty.
func required(why string) rule {
	out := isNot("", why)
	out.kind, out.hidden = "Required value", true
	return out
}

// oneOf is a rule that words are among those that are known.
func oneOf(known []string) rule {
	var quoted []string
	for _, word := range known {
		quoted = append(quoted, Quoted(word))
	}
	return rule{
		broken:    func(word string) bool { return !slices.Contains(known, word) },
		celBroken: func(word string) string { return fmt.Sprintf("!(%s in %s)", word, celList(known)) },
		kind:      "Unsupported value", why: "supported values: " + strings.Join(quoted, ", "),
	}
}

// forbidden is a rule against keys.
func forbidden(r rule) rule {
	r.kind, r.hidden = "Forbidden", true
	return r
}

// outside is a rule that keys of labels are not of a domain, nor of one below it.
func outside(domain, why string, below bool) rule {
	start, within := domain+"/", "."+domain+"/"
	return forbidden(invalidIf(
		func(key string) bool {
			return strings.HasPrefix(key, start) || below && strings.Contains(key, within)
		},
		func(key string) string {
			if !below {
				return fmt.Sprintf("%s.startsWith(%s)", key, celString(start))
			}
			return fmt.Sprintf("(%[1]s.startsWith(%[2]s) || %[1]s.contains(%[3]s))", key, celString(start), celString(within))
		}, why))
}

// domainNoLonger is a rule about the part of a key before the slash.
func domainNoLonger(most int) rule {
	return invalidIf(
		func(key string) bool { return strings.Index(key, "/") > most },
		func(key string) string { return fmt.Sprintf("%s.indexOf('/') > %d", key, most) },
		fmt.Sprintf("must have a domain of at most %d characters", most))
}

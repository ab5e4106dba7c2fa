// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	// maxProblems and maxValue keep what is said short: an event's message has room
	// for 1024 bytes.
	maxProblems = 3
	maxValue    = 100

	// mark is on both sides of a user's word in a problem, until that is told. What
	// else is in a problem never has it.
	mark = "\x01"

	// unprintable are characters that could upset a terminal.
	unprintable = `[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]`
)

var unprintables = regexp.MustCompile(unprintable)

// Shortened returns a text of bearable length.
func Shortened(text string) string {
	if utf8.RuneCountInString(text) <= maxValue {
		return text
	}
	return string([]rune(text)[:maxValue]) + "…"
}

// celShortened is [Shortened].
func celShortened(text string) string {
	return fmt.Sprintf("(size(%[1]s) > %[2]d ? %[1]s.substring(0, %[2]d) + '…' : %[1]s)", text, maxValue)
}

// Quoted returns a user's word as it is shown: short, in quotes, and without
// characters that could upset a terminal. It is CEL's way to quote.
func Quoted(word string) string {
	escaped := strings.NewReplacer("\a", `\a`, "\b", `\b`, "\f", `\f`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\v", `\v`, `\`, `\\`, `"`, `\"`).Replace(Shortened(word))
	return `"` + unprintables.ReplaceAllString(escaped, "\uFFFD") + `"`
}

// celQuoted is [Quoted].
func celQuoted(word string) string {
	return fmt.Sprintf(`strings.quote(%s).split('').map(c, c.matches(%s) ? '\uFFFD' : c).join('')`, celShortened(word), celString(unprintable))
}

// show returns what is not a string.
func show(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case float64:
		return fmt.Sprintf("%g", value)
	default:
		return fmt.Sprint(value)
	}
}

// celShow is [show].
func celShow(value string) string {
	return fmt.Sprintf("(type(%[1]s) == bool || type(%[1]s) == int || type(%[1]s) == double ? string(%[1]s) : %[1]s == null ? 'null' : type(%[1]s) == list ? 'a list' : 'an object')", value)
}

// invalid is a problem with a user's word.
func invalid(path, word, why string) string {
	return path + ": Invalid value: " + mark + word + mark + ": " + why
}

// Invalid tells of a user's word that is not as it should be.
func Invalid(path, word, why string) string { return told(invalid(path, word, why)) }

// mistyped is a problem with a value of another type.
func mistyped(path string, value any, want string) string {
	shown := show(value)
	if word, ok := value.(string); ok {
		shown = mark + word + mark
	}
	return path + ": Invalid value: " + shown + ": must be " + want
}

// celMistyped is [mistyped].
func celMistyped(path, value, want string) string {
	return fmt.Sprintf("%[1]s + ': Invalid value: ' + (type(%[2]s) == string ? %[3]s + %[2]s + %[3]s : %[4]s) + %[5]s",
		path, value, celString(mark), celShow(value), celString(": must be "+want))
}

// told is a problem in the words for users.
func told(problem string) string {
	start, end := strings.Index(problem, mark), strings.LastIndex(problem, mark)
	if start < 0 {
		return problem
	}
	return problem[:start] + Quoted(problem[start+1:end]) + problem[end+1:]
}

// celTold is [told].
func celTold(problem string) string {
	return fmt.Sprintf("(!%[1]s.contains(%[2]s) ? %[1]s : %[1]s.substring(0, %[1]s.indexOf(%[2]s)) + %[3]s + %[1]s.substring(%[1]s.lastIndexOf(%[2]s) + 1))",
		problem, celString(mark), celQuoted(fmt.Sprintf("%[1]s.substring(%[1]s.indexOf(%[2]s) + 1, %[1]s.lastIndexOf(%[2]s))", problem, celString(mark))))
}

// Summary joins problems, and leaves some out where there are many.
func Summary(problems []string) string {
	out := strings.Join(problems[:min(len(problems), maxProblems)], "; ")
	if more := len(problems) - maxProblems; more > 0 {
		out += fmt.Sprintf("; and %d more", more)
	}
	return out
}

// celSummary is [Summary] of what is told.
func celSummary(problems string) string {
	return fmt.Sprintf("%[1]s.transformList(n, t, n < %[2]d, %[3]s).join('; ') + (size(%[1]s) > %[2]d ? '; and ' + string(size(%[1]s) - %[2]d) + ' more' : '')",
		problems, maxProblems, celTold("t"))
}

// celString is a literal.
func celString(text string) string {
	var out strings.Builder
	out.WriteByte('\'')
	for _, c := range text {
		switch {
		case c == '\\' || c == '\'':
			out.WriteRune('\\')
			out.WriteRune(c)
		case c < ' ':
			fmt.Fprintf(&out, `\u%04X`, c)
		default:
			out.WriteRune(c)
		}
	}
	out.WriteByte('\'')
	return out.String()
}

// celSorted puts the first texts of a list, as many as are told, into their order.
// There is no function to sort before Kubernetes 1.35.
func celSorted(texts string) string {
	expr := fmt.Sprintf("s%d", maxProblems)
	for i := maxProblems - 1; i >= 0; i-- {
		expr = fmt.Sprintf("(size(s%[1]d) < 2 ? s%[1]d : [s%[1]d.min()].map(m%[1]d, s%[1]d.filter(a, a == m%[1]d) + [s%[1]d.filter(a, a != m%[1]d)].map(s%[2]d, %[3]s)[0])[0])", i, i+1, expr)
	}
	return fmt.Sprintf("[%s].map(s0, %s)[0]", texts, expr)
}

// celLeast leaves the first of a list's texts in their order.
func celLeast(texts string) string {
	return fmt.Sprintf("[%s].map(s, size(s) == 0 ? [] : [s.min()])[0]", texts)
}

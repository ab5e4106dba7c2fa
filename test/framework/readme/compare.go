// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

const (
	age     = `[0-9]+[smhd](?:[0-9]+[smhd])?`
	moment  = `[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`
	address = `[0-9]{1,3}(?:\.[0-9]{1,3}){3}`
	uid     = `[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`
	node    = `[a-z0-9-]+-(?:worker[0-9]*|control-plane)`
	// Kubernetes and the driver generate suffixes of these characters. A CronJob adds
	// the minute to names of its Jobs.
	suffix = `-(?:[bcdfghjklmnpqrstvwxz2456789]{5,10}|[0-9]{8})`
)

var (
	// token is what stands for something else: anything, space, a time, an address, an age
	// or a word. Ages are in columns and in parentheses; elsewhere, a duration is a setting.
	token           = regexp.MustCompile(`(\.\.\.)|(` + moment + `)|(` + address + `)|((?:^|\s{2,}|\(|\bover )` + age + `\b)|(\s+)|[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*`)
	spaces          = regexp.MustCompile(`\s+`)
	wholeUID        = regexp.MustCompile("^" + uid + "$")
	wholeNode       = regexp.MustCompile("^" + node + "$")
	generatedSuffix = regexp.MustCompile(suffix + `\b`)
	// logged is a line that a library of the command logs, such as that a watch has ended.
	logged = regexp.MustCompile(`^[IWE][0-9]{4} [0-9:.]+ +[0-9]+ [a-z_]+\.go:[0-9]+\] `)
)

// names are the real names of UIDs, nodes and generated names, by those that a page shows.
type names map[string]string

// compare returns an error if the output of a command is not as expected. It ignores white
// space, empty lines and lines that libraries log. In the expected output, "..." stands for
// any lines or characters. Ages, times, addresses, UIDs, names of nodes and generated names
// must have the same form. The last three must stand for the same name everywhere.
func (n names) compare(expected, output string) error {
	var pattern, actual strings.Builder
	var shown []string
	pattern.WriteString("^")
	for line := range strings.Lines(expected) {
		switch line = strings.TrimSpace(line); line {
		case "":
		case "...":
			pattern.WriteString(`(?:.*\n)*`)
		default:
			text, more := n.pattern(line)
			shown = append(shown, more...)
			pattern.WriteString(text + `\n`)
		}
	}
	pattern.WriteString("$")
	for line := range strings.Lines(output) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !logged.MatchString(line) {
			actual.WriteString(line + "\n")
		}
	}
	match := regexp.MustCompile(pattern.String()).FindStringSubmatch(actual.String())
	if match == nil {
		return fmt.Errorf("the output is not as expected, want:\n%s", expected)
	}
	bound := maps.Clone(n)
	for i, name := range shown {
		if real, known := bound[name]; known && real != match[i+1] {
			return fmt.Errorf("%s stands for both %s and %s, want:\n%s", name, real, match[i+1], expected)
		}
		bound[name] = match[i+1]
	}
	if sets.New(slices.Collect(maps.Values(bound))...).Len() != len(bound) {
		return fmt.Errorf("two names stand for one: %v, want:\n%s", bound, expected)
	}
	maps.Copy(n, bound)
	return nil
}

// pattern returns an expression for a line, and the names for which it has groups.
func (n names) pattern(line string) (pattern string, shown []string) {
	end := 0
	for _, at := range token.FindAllStringSubmatchIndex(line, -1) {
		text := line[at[0]:at[1]]
		pattern += regexp.QuoteMeta(line[end:at[0]])
		end = at[1]
		form := formOf(text)
		switch {
		case at[2] >= 0:
			pattern += ".*"
		case at[4] >= 0:
			pattern += moment
		case at[6] >= 0:
			pattern += address
		case at[8] >= 0:
			before := strings.TrimRight(text, "0123456789smhd")
			pattern += regexp.QuoteMeta(spaces.ReplaceAllString(before, " ")) + age
		case at[10] >= 0:
			pattern += " "
		case form == "":
			pattern += text
		default:
			if real, known := n[text]; known {
				form = real
			}
			pattern += "(" + form + ")"
			shown = append(shown, text)
		}
	}
	return pattern + regexp.QuoteMeta(line[end:]), shown
}

// formOf returns the form of a name that differs from run to run, or nothing.
func formOf(word string) string {
	switch {
	case wholeUID.MatchString(word):
		return uid
	case wholeNode.MatchString(word):
		return node
	case generatedSuffix.MatchString(word):
		return generatedSuffix.ReplaceAllString(word, suffix)
	}
	return ""
}

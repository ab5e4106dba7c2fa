// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// anything stands for any lines, and within a line for any characters.
const anything = "..."

// Names says which real name stands for which printed one. It is one page's, so
// that a name stays what it was, and two names never mean the same.
type Names struct {
	real, printed map[string]string
}

// NewNames knows no names yet.
func NewNames() *Names {
	return &Names{real: map[string]string{}, printed: map[string]string{}}
}

func (n *Names) clone() *Names {
	return &Names{real: maps.Clone(n.real), printed: maps.Clone(n.printed)}
}

// bind notes that a name is real for the printed one, and says whether it can be.
func (n *Names) bind(printed, actual string) bool {
	was, known := n.real[printed]
	other, taken := n.printed[actual]
	if known && was != actual || taken && other != printed {
		return false
	}
	n.real[printed], n.printed[actual] = actual, printed
	return true
}

// Compare says what is wrong with an output. White space and empty lines don't
// matter, nor do warnings that the libraries of a command log, such as that a watch has
// ended, nor does what differs from run to run, as long as it has the form that
// it has in the expected lines: names that Kubernetes or the driver generated, UIDs,
// names of nodes, addresses, times and ages. The first three are the same wherever
// they are printed the same.
func (n *Names) Compare(expected []string, output string) error {
	var actual []string
	for line := range strings.Lines(output) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !logged.MatchString(line) {
			actual = append(actual, line)
		}
	}
	c := comparison{expected: expected, actual: actual}
	names := c.match(0, 0, n)
	if names == nil {
		return c.mismatch()
	}
	*n = *names
	return nil
}

// logged is a line of the log of a program's libraries.
var logged = regexp.MustCompile(`^[IWE][0-9]{4} [0-9:.]+ +[0-9]+ [a-z_]+\.go:[0-9]+\] `)

type comparison struct {
	expected, actual []string
	// furthest are how many lines of both were found to be the same.
	furthestExpected, furthestActual int
}

// match returns the names as they are when the rest of the lines is the same, or
// nil if it is not.
func (c *comparison) match(e, a int, names *Names) *Names {
	if e > c.furthestExpected {
		c.furthestExpected, c.furthestActual = e, a
	}
	switch {
	case e == len(c.expected) && a == len(c.actual):
		return names
	case e == len(c.expected):
		return nil
	case strings.TrimSpace(c.expected[e]) == anything:
		for ; a <= len(c.actual); a++ {
			if after := c.match(e+1, a, names); after != nil {
				return after
			}
		}
		return nil
	case a == len(c.actual):
		return nil
	}
	after := matchLine(c.expected[e], c.actual[a], names)
	if after == nil {
		return nil
	}
	return c.match(e+1, a+1, after)
}

func (c *comparison) mismatch() error {
	want, got := "no more lines", "no more lines"
	if c.furthestExpected < len(c.expected) {
		want = c.expected[c.furthestExpected]
	}
	if c.furthestActual < len(c.actual) {
		got = c.actual[c.furthestActual]
	}
	return fmt.Errorf("the output is not as expected\n  want: %s\n  have: %s", want, got)
}

// What Kubernetes and the driver make names of.
const generated = "bcdfghjklmnpqrstvwxz2456789"

var (
	word = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?`)

	uid     = form(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	address = form(`[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}`)
	moment  = form(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`)
	age     = form(`[0-9]+[smhd]([0-9]+[smhd])?`)
	node    = form(`[a-z0-9-]+-(worker[0-9]*|control-plane)`)
	suffix  = form(`[` + generated + `]{5}`)
	hash    = form(`[` + generated + `]{6,10}`)
	minute  = form(`[0-9]{8}`)

	// Ages are in columns and in parentheses; elsewhere a duration is what somebody
	// has set.
	beforeAge = regexp.MustCompile(`(^|\s\s|\t|\(|\bover )$`)
	afterAge  = regexp.MustCompile(`^($|\s|\))`)
)

// pattern is a form that text can have.
type pattern struct {
	text  string
	whole *regexp.Regexp
}

func form(text string) pattern {
	// What is captured is counted, so only a whole name is.
	text = strings.ReplaceAll(text, "(", "(?:")
	return pattern{text: text, whole: regexp.MustCompile(`^(?:` + text + `)$`)}
}

// matchLine returns the names as they are when the lines are the same.
func matchLine(expected, actual string, names *Names) *Names {
	expected = strings.TrimSpace(expected)
	var re strings.Builder
	var printed []string
	re.WriteString("^")
	for i, part := range strings.Split(expected, anything) {
		if i > 0 {
			re.WriteString(".*")
		}
		end := 0
		for _, at := range word.FindAllStringIndex(part, -1) {
			text, name := formOf(part[:at[0]], part[at[0]:at[1]], part[at[1]:])
			if name {
				printed = append(printed, part[at[0]:at[1]])
				if known, is := names.real[part[at[0]:at[1]]]; is {
					text = regexp.QuoteMeta(known)
				}
				text = "(" + text + ")"
			}
			re.WriteString(literal(part[end:at[0]]) + text)
			end = at[1]
		}
		re.WriteString(literal(part[end:]))
	}
	re.WriteString("$")
	found := regexp.MustCompile(re.String()).FindStringSubmatch(actual)
	if found == nil {
		return nil
	}
	names = names.clone()
	for i, name := range printed {
		if !names.bind(name, found[i+1]) {
			return nil
		}
	}
	return names
}

var spaces = regexp.MustCompile(`\s+`)

func literal(text string) string { return regexp.QuoteMeta(spaces.ReplaceAllString(text, " ")) }

// formOf returns a regular expression for what may stand for a word between two
// texts, and whether it is a name, which has to stay the same.
func formOf(before, word, after string) (text string, name bool) {
	switch {
	case uid.whole.MatchString(word):
		return uid.text, true
	case node.whole.MatchString(word):
		return node.text, true
	case address.whole.MatchString(word):
		return address.text, false
	case moment.whole.MatchString(word):
		return moment.text, false
	case age.whole.MatchString(word) && beforeAge.MatchString(before) && afterAge.MatchString(after):
		return age.text, false
	}
	parts := strings.Split(word, "-")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
		for _, form := range []pattern{suffix, hash, minute} {
			if i > 0 && form.whole.MatchString(part) {
				parts[i], name = form.text, true
				break
			}
		}
	}
	return strings.Join(parts, "-"), name
}

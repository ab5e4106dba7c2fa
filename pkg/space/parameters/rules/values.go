// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

const (
	// minTokenLifetime and maxTokenLifetime are what the API server's TokenRequest
	// takes: 10 minutes to 2^32 seconds.
	minTokenLifetime = 10 * time.Minute
	maxTokenLifetime = 1 << 32 * time.Second

	quantityWords = "a quantity, such as 500m, 2 or 8Gi; an exponent has at most two digits"
)

// These are narrower than the parsers, which must not fail on what is of these
// forms: an exponent of nine digits takes a comparison minutes and gigabytes.
var (
	quantityForm = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})?$`)
	durationForm = regexp.MustCompile(`^-?(0|([01]?[0-9]{1,6}(\.[0-9]{1,9})?h)?([0-9]{1,6}(\.[0-9]{1,9})?m)?([0-9]{1,8}(\.[0-9]{1,9})?s)?([0-9]{1,9}(ms|us|µs|ns))?)$`)
	someDigit    = regexp.MustCompile(`[0-9]`)
	// whole are quantities that are seen to have no fractions.
	whole = regexp.MustCompile(`^[+]?[0-9]+([kMGTPE]|[KMGTPE]i|[eE][+]?[0-9]{1,2})?$`)
)

// duration is a text that keeps rules about the time that it says.
func duration(bounds ...rule) text {
	const what = "a duration, such as 90s, 10m or 1h30m, of less than 2000000h"
	why := "must be " + what
	return text{what: what, empty: true, rules: append([]rule{matches(durationForm, why), matches(someDigit, why)}, bounds...)}
}

func lifetime() text {
	return duration(lasts("<=", func(d time.Duration) bool { return d <= 0 }, 0, "must be more than zero"))
}

func tokenLifetime() text {
	return duration(
		lasts("<", func(d time.Duration) bool { return d < minTokenLifetime }, minTokenLifetime, "must be at least 10m, the API server's own limit"),
		lasts(">", func(d time.Duration) bool { return d > maxTokenLifetime }, maxTokenLifetime, "must be at most "+maxTokenLifetime.String()+", the API server's own limit"))
}

// lasts is a rule for what is a duration.
func lasts(operator string, broken func(time.Duration) bool, bound time.Duration, why string) rule {
	return invalidIf(
		func(word string) bool { d, err := time.ParseDuration(word); return err != nil || broken(d) },
		func(word string) string {
			return fmt.Sprintf("duration(%s) %s duration('%ds')", word, operator, int64(bound.Seconds()))
		}, why)
}

// quantity is a number, or a string for one, that is not negative.
type quantity struct{ rules []rule }

func newQuantity(more ...rule) quantity {
	negative := invalidIf(
		func(word string) bool { return strings.HasPrefix(word, "-") },
		func(word string) string { return word + ".startsWith('-')" }, "must not be negative")
	return quantity{append([]rule{matches(quantityForm, "must be "+quantityWords), negative}, more...)}
}

func (q quantity) problems(path string, value any) []string {
	word, ok := quantityOf(value)
	if !ok {
		return []string{mistyped(path, value, quantityWords)}
	}
	return firstBroken(q.rules, path, word)
}

func (q quantity) cel(path, value string) string {
	return fmt.Sprintf("(type(%[1]s) != string && type(%[1]s) != int && type(%[1]s) != double ? [%[2]s] : [string(%[1]s)].map(q, %[3]s)[0])", value,
		celMistyped(path, value, quantityWords), celFirstBroken(q.rules, path, "q"))
}

// quantityOf is how a quantity was written.
func quantityOf(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case int64, float64:
		return show(value), true
	}
	return "", false
}

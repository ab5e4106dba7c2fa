// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// These keep a message short enough for an event, which has 1024 bytes.
const (
	maxSummary = 800
	maxError   = 300
)

// summary joins errors to one line that is safe to show on a terminal.
func summary(errs field.ErrorList) string {
	var out strings.Builder
	for i, err := range errs {
		text := printable(err.Error())
		if i > 0 && out.Len()+len(text) > maxSummary {
			fmt.Fprintf(&out, "; and %d more", len(errs)-i)
			break
		}
		if i > 0 {
			out.WriteString("; ")
		}
		out.WriteString(text)
	}
	return out.String()
}

// printable shortens a text, and replaces what could upset a terminal: names of fields
// are the user's words.
func printable(text string) string {
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

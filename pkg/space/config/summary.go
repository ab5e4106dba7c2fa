// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"
	utilstrings "k8s.io/utils/strings"
)

// maxSummary keeps a message short enough for an event, which has 1024 bytes.
const maxSummary = 800

// summary joins errors to one line. It replaces what could upset a terminal: names of fields
// are the user's words.
func summary(errs field.ErrorList) string {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, utilstrings.ShortenString(strings.Join(texts, "; "), maxSummary))
}

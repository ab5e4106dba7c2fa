// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/kubectl/pkg/describe"
)

// unquote undoes what strconv.Quote does to printable characters.
var unquote = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

// escape replaces all characters that are not printable with their escape sequences in Go. Tenants
// write messages, annotations and names: these must neither look like more lines of the output nor
// control the terminal. kubectl's printers.EscapeTerminal only replaces ESC and CR.
func escape(text string) string {
	quoted := strconv.Quote(text)
	return unquote.Replace(quoted[1 : len(quoted)-1])
}

// escapingWriter escapes all arguments.
type escapingWriter struct{ describe.PrefixWriter }

func (w escapingWriter) Write(level int, format string, args ...any) {
	for i, arg := range args {
		args[i] = escape(fmt.Sprint(arg))
	}
	w.PrefixWriter.Write(level, format, args...)
}

// plainWord matches what shells take literally.
var plainWord = regexp.MustCompile(`^[\w%+,./:@-]+$`)

// ansiC keeps a string in one pair of quotes, also in shells that do not know $'...'.
var ansiC = strings.NewReplacer(`\"`, `"`, `'`, `\x27`)

// shellQuote returns a word that a shell reads as the value. It is on one line and controls no
// terminal: a value with characters that are not printable is in $'...', which bash and zsh know.
func shellQuote(value string) string {
	switch {
	case plainWord.MatchString(value):
		return value
	case escape(value) == value:
		return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	default:
		quoted := strconv.Quote(value)
		return "$'" + ansiC.Replace(quoted[1:len(quoted)-1]) + "'"
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"os"
	"regexp"
	"slices"

	"k8s.io/kubectl/pkg/util/term"
)

// stateWord matches a line up to its state: names are in lower case, and headers in upper case.
var stateWord = regexp.MustCompile(`(?m)^([^A-Z\n]*)([A-Z][a-z]\w*)`)

// colored returns a table with the states in color, if the output is a terminal whose user wants that
// (https://no-color.org).
func (o *options) colored(table string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !(term.TTY{Out: o.streams.Out}).IsTerminalOut() {
		return table
	}
	return colored(table)
}

func colored(table string) string {
	return stateWord.ReplaceAllStringFunc(table, func(line string) string {
		parts := stateWord.FindStringSubmatch(line)
		color := "\x1b[31m" // red
		switch state := parts[2]; {
		case state == stateReady:
			color = "\x1b[32m" // green
		case slices.Contains([]string{stateUnused, statePending, stateProvisioning, stateDeprovisioning, stateTerminating, stateRetained, stateDeleted}, state):
			color = "\x1b[33m" // yellow
		}
		return parts[1] + color + parts[2] + "\x1b[0m"
	})
}

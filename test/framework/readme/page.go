// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package readme runs the commands of a README, and compares their output with what the
// README shows.
//
// A README has code blocks of three languages. A bash block must succeed. A console block has lines
// "$ command", each followed by its output. A yaml block shows a part of a file.
package readme

import (
	"fmt"
	"regexp"
	"strings"
)

// Page is a parsed README.
type Page struct {
	Name  string
	Steps []Step
	YAML  []string
}

// Step is a bash block, or one command of a console block.
type Step struct {
	Line   int
	Script string
	// Console is set if the output has to be equal to Output.
	Console bool
	Output  string
}

var (
	fence  = regexp.MustCompile("(?m)^ *```")
	fenced = regexp.MustCompile("(?m)^( *)```(.*)\n((?s:.*?))^ *```$")
	// failure matches the expected output of a command that may fail.
	failure = regexp.MustCompile(`(?i)(\berror\b|exit code).*\s*$`)
	// transient is an error that a later attempt does not have. Kubernetes creates the ServiceAccount, and
	// counts the quota, a moment after a new namespace. On a busy machine, connecting takes long.
	transient = regexp.MustCompile(`serviceaccount "default" not found|status unknown for quota|TLS handshake timeout`)
	// reader matches a command that changes nothing.
	reader = regexp.MustCompile(`^kubectl (get|logs|space (list|describe|why|env|top)|exec [^|;&>]* (printenv|get)) [^|;&>]*$`)
)

// Parse parses a README. Its name is for errors.
func Parse(name, text string) (*Page, error) {
	page := &Page{Name: name}
	blocks := fenced.FindAllStringSubmatchIndex(text, -1)
	if len(fence.FindAllString(text, -1)) != 2*len(blocks) {
		return nil, fmt.Errorf("%s: a code block has no end", name)
	}
	for _, b := range blocks {
		line := strings.Count(text[:b[6]], "\n") + 1
		// In a list, the block is indented.
		content := regexp.MustCompile("(?m)^"+text[b[2]:b[3]]).ReplaceAllString(text[b[6]:b[7]], "")
		switch language := text[b[4]:b[5]]; language {
		case "bash":
			page.Steps = append(page.Steps, Step{Line: line, Script: content})
		case "console":
			steps := commands(line, content)
			if len(steps) == 0 {
				return nil, fmt.Errorf("%s:%d: the console block does not begin with a command", name, line)
			}
			page.Steps = append(page.Steps, steps...)
		case "yaml":
			page.YAML = append(page.YAML, content)
		default:
			return nil, fmt.Errorf("%s:%d: the language of the code block is %q, must be bash, console or yaml", name, line, language)
		}
	}
	return page, nil
}

// commands returns the commands of a console block, none if it does not begin with one.
func commands(first int, content string) []Step {
	var steps []Step
	for i, line := range strings.Split(content, "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case isCommand:
			steps = append(steps, Step{Line: first + i, Script: command, Console: true})
		case len(steps) == 0:
			return nil
		case strings.HasSuffix(steps[len(steps)-1].Script, `\`):
			steps[len(steps)-1].Script += "\n" + line
		default:
			steps[len(steps)-1].Output += line + "\n"
		}
	}
	return steps
}

// MissingYAML returns the yaml blocks that are in none of the files. They can be indented
// differently.
func (p *Page) MissingYAML(files ...string) []string {
	all := "\n" + strings.Join(files, "\n\n")
	var missing []string
blocks:
	for _, block := range p.YAML {
		for range 20 {
			if strings.Contains(all, "\n"+block) {
				continue blocks
			}
			block = regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(block, " $1")
		}
		missing = append(missing, strings.TrimSpace(block))
	}
	return missing
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package readme runs what a README tells its readers to run, and compares what
// comes of it with what the README shows.
//
// A page has fenced blocks of three languages. What is in a bash block has to
// succeed. A console block has lines "$ command", each followed by the output to
// expect. A yaml block is part of a file, and has to be in it literally.
package readme

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Page is a README, taken apart.
type Page struct {
	// Name is what errors call it.
	Name string
	// Steps are its commands, in order.
	Steps []Step
	// Shown are its yaml blocks.
	Shown []Shown
}

// Step is what is run at once: a bash block, or one command of a console block.
type Step struct {
	// Line is where it begins.
	Line int
	// Script is what to run.
	Script string
	// Compared says whether the output has to be as expected.
	Compared bool
	// Expected are the lines of the output, without empty ones.
	Expected []string
}

// Shown is a part of a file.
type Shown struct {
	// Line is where it begins.
	Line int
	// Lines are without the indentation that they have in common.
	Lines []string
}

const prompt = "$ "

// failure is how the last line of an output looks after which a command may have
// failed.
var failure = regexp.MustCompile(`(?i)\berror\b|exit code`)

// MayFail says whether the expected output shows that the command fails.
func (s Step) MayFail() bool {
	return len(s.Expected) > 0 && failure.MatchString(s.Expected[len(s.Expected)-1])
}

// look is a command that changes nothing.
var look = regexp.MustCompile(`^kubectl (get|logs|space (list|describe|why|env|top)|exec [^|;&>]* (printenv|get)) [^|;&>]*$`)

// Looks says whether the step only looks at something, so that it can be repeated.
func (s Step) Looks() bool { return look.MatchString(s.Script) }

type block struct {
	line     int
	language string
	lines    []string
}

// Parse takes a README apart.
func Parse(name, text string) (*Page, error) {
	page := &Page{Name: name}
	blocks, err := split(text)
	if err != nil {
		return nil, page.at(err)
	}
	for _, b := range blocks {
		switch b.language {
		case "bash":
			page.Steps = append(page.Steps, Step{Line: b.line, Script: strings.Join(b.lines, "\n")})
		case "console":
			steps, err := commands(b)
			if err != nil {
				return nil, page.at(err)
			}
			page.Steps = append(page.Steps, steps...)
		case "yaml":
			page.Shown = append(page.Shown, Shown{Line: b.line, Lines: dedent(b.lines)})
		default:
			return nil, page.at(lineError(b.line-1, "the block's language is %q, must be bash, console or yaml", b.language))
		}
	}
	return page, nil
}

// lineError is an error with the line that it is about.
func lineError(line int, format string, args ...any) error {
	return fmt.Errorf("%d: %w", line, fmt.Errorf(format, args...))
}

// at puts the page's name before an error that begins with a line's number.
func (p *Page) at(err error) error { return fmt.Errorf("%s:%w", p.Name, err) }

// split finds the fenced blocks.
func split(text string) ([]block, error) {
	var blocks []block
	var open *block
	var indent string
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch fence := strings.HasPrefix(trimmed, "```"); {
		case open == nil && fence:
			indent, _, _ = strings.Cut(line, "`")
			open = &block{line: i + 2, language: strings.TrimPrefix(trimmed, "```")}
		case open != nil && trimmed == "```":
			blocks = append(blocks, *open)
			open = nil
		case open != nil && fence:
			return nil, lineError(i+1, "a block begins within the one of line %d", open.line-1)
		case open != nil:
			open.lines = append(open.lines, strings.TrimPrefix(strings.TrimRight(line, " \t\r"), indent))
		}
	}
	if open != nil {
		return nil, lineError(open.line-1, "the block has no end")
	}
	return blocks, nil
}

// commands takes a console block apart.
func commands(b block) ([]Step, error) {
	var steps []Step
	continued := false
	for i, line := range b.lines {
		command, is := strings.CutPrefix(line, prompt)
		switch {
		case continued:
			last := &steps[len(steps)-1]
			last.Script += "\n" + line
			continued = strings.HasSuffix(line, `\`)
		case is:
			steps = append(steps, Step{Line: b.line + i, Script: command, Compared: true})
			continued = strings.HasSuffix(command, `\`)
		case strings.TrimSpace(line) == "":
		case len(steps) == 0:
			return nil, lineError(b.line+i, "a console block has to begin with a command, a line that begins with %q", prompt)
		default:
			last := &steps[len(steps)-1]
			last.Expected = append(last.Expected, line)
		}
	}
	if len(steps) == 0 {
		return nil, lineError(b.line-1, "the console block is empty")
	}
	return steps, nil
}

// dedent takes away the indentation that all lines have in common, and empty
// lines at the ends.
func dedent(lines []string) []string {
	common := -1
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if n := len(line) - len(strings.TrimLeft(line, " ")); common < 0 || n < common {
			common = n
		}
	}
	var out []string
	for _, line := range lines {
		line = strings.TrimRight(line, " \t\r")
		out = append(out, line[min(max(common, 0), len(line)):])
	}
	for len(out) > 0 && out[0] == "" {
		out = out[1:]
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// CheckShown says which yaml blocks are in none of the files, given by their
// names. Only the indentation may differ.
func (p *Page) CheckShown(files map[string]string) error {
	var missing []error
	for _, shown := range p.Shown {
		if !shown.in(files) {
			missing = append(missing, p.at(lineError(shown.Line, "these lines are in none of the files:\n%s", strings.Join(shown.Lines, "\n"))))
		}
	}
	return errors.Join(missing...)
}

func (s Shown) in(files map[string]string) bool {
	for _, text := range files {
		lines := strings.Split(text, "\n")
		for i := 0; i+len(s.Lines) <= len(lines); i++ {
			part := lines[i : i+len(s.Lines)]
			if strings.Join(dedent(part), "\n") == strings.Join(s.Lines, "\n") && len(s.Lines) > 0 {
				return true
			}
		}
	}
	return false
}

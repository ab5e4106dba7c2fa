// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Runner runs the commands of READMEs.
type Runner struct {
	// Dir and Env are the working directory and the environment of the commands.
	Dir string
	Env []string
	// Timeout is how long a command that only reads is repeated while its output is not
	// as expected.
	Timeout time.Duration
}

// retryInterval is the time between attempts.
const retryInterval = time.Second

// Run runs the commands of a page. It returns at the first that fails, or whose output is
// not as expected.
func (r Runner) Run(ctx context.Context, page *Page) (err error) {
	variables, err := os.CreateTemp("", "readme-")
	if err != nil {
		return fmt.Errorf("create a file for the variables of %s: %w", page.Name, err)
	}
	defer func() { err = errors.Join(err, variables.Close(), os.Remove(variables.Name())) }()
	known := names{}
	for _, step := range page.Steps {
		if output, err := r.step(ctx, step, variables.Name(), known); err != nil {
			return fmt.Errorf("%s:%d: %s\n%w\noutput:\n%s", page.Name, step.Line, step.Script, err, output)
		}
	}
	return nil
}

// step runs a step until it succeeds or cannot be repeated, and returns its output.
func (r Runner) step(ctx context.Context, step Step, variables string, known names) (output string, err error) {
	deadline, repeated := time.Now().Add(r.Timeout), false
	for {
		output, err = r.bash(ctx, step.Script, variables)
		retry := false
		switch {
		case err != nil && transient.MatchString(output):
			retry, repeated = true, true
		case err != nil && !failure.MatchString(step.Output):
		case !step.Console:
			return output, nil
		default:
			if repeated {
				output = strings.ReplaceAll(output, " unchanged\n", " created\n")
			}
			err = known.compare(step.Output, output)
			retry = err != nil && reader.MatchString(step.Script)
		}
		if !retry || time.Now().After(deadline) {
			return output, err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return output, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// bash runs a script with the variables of earlier ones, and returns what it writes.
func (r Runner) bash(ctx context.Context, script, variables string) (string, error) {
	prelude := fmt.Sprintf("trap 'export -p >%[1]s' EXIT\n. %[1]s\nset -a\n", variables)
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", prelude+script)
	cmd.Dir, cmd.Env = r.Dir, r.Env
	// At the end of ctx, kill the processes that the script has started, too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Reader is somebody who does what a README says.
type Reader struct {
	// Dir is where commands are run.
	Dir string
	// Env is the environment that they have.
	Env []string
	// Patience is how long a command that only looks is repeated while its output is not
	// as expected: what other components do comes to be a moment later.
	Patience time.Duration
}

// again is after what time a command is repeated.
const again = time.Second

// Follow runs the commands of a page, one after the other in one shell, and
// returns with the first that fails or whose output is not as expected.
func (r Reader) Follow(ctx context.Context, page *Page) (err error) {
	scratch, err := os.MkdirTemp("", "readme-")
	if err != nil {
		return fmt.Errorf("make a directory for the commands of %s: %w", page.Name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	sh, err := r.start(ctx, filepath.Join(scratch, "command"))
	if err != nil {
		return fmt.Errorf("start a shell for %s: %w", page.Name, err)
	}
	names := NewNames()
	for _, step := range page.Steps {
		output, err := r.do(ctx, sh, step, names)
		if err != nil {
			// What went wrong is known already.
			_ = sh.end()
			return page.at(lineError(step.Line, "%s\n%w\nall of the output:\n%s", step.Script, err, output))
		}
	}
	return sh.end()
}

// do runs a step, and again if it may be, and returns its last output.
func (r Reader) do(ctx context.Context, sh *shell, step Step, names *Names) (string, error) {
	for deadline := time.Now().Add(r.Patience); ; {
		output, err := sh.run(step)
		if err != nil || !step.Compared {
			return output, err
		}
		if err = names.Compare(step.Expected, output); err == nil || !step.Looks() || time.Now().After(deadline) {
			return output, err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return output, err
		}
	}
}

// mark ends the output of a command.
const mark = '\x1e'

// shell is a running bash that reads commands.
type shell struct {
	ctx    context.Context
	cmd    *exec.Cmd
	file   string
	input  io.WriteCloser
	output *bufio.Reader
}

func (r Reader) start(ctx context.Context, file string) (*shell, error) {
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-euo", "pipefail", "-s")
	cmd.Dir, cmd.Env = r.Dir, r.Env
	// What it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_, err = io.WriteString(input, applyAgain)
	return &shell{ctx: ctx, cmd: cmd, file: file, input: input, output: bufio.NewReader(output)}, err
}

// applyAgain has kubectl apply repeated while there is no ServiceAccount for pods in a
// namespace that it has just made: Kubernetes makes one a moment later, and on a busy
// machine later than the API server waits for it. In the end it has said what one says
// that succeeds at once.
const applyAgain = `kubectl() {
  if [ "${1-}" != apply ]; then
    command kubectl "$@"
    return
  fi
  local said made=
  until said=$(command kubectl "$@" 2>&1); do
    case $said in
      *'serviceaccount "default" not found'*) ;;
      *)
        printf '%s\n' "$said"
        return 1
        ;;
    esac
    made=1
    grep ' created$' <<<"$said" || :
    sleep 0.2
  done
  if [ -n "$made" ]; then
    grep -v ' unchanged$' <<<"$said" || :
  else
    printf '%s\n' "$said"
  fi
}
`

// run returns what a step has written, and an error if it failed and may not.
func (s *shell) run(step Step) (string, error) {
	if err := os.WriteFile(s.file, []byte(step.Script+"\n"), 0o600); err != nil {
		return "", err
	}
	// Without the list, a failure ends the shell.
	command := fmt.Sprintf(". '%s' </dev/null 2>&1", s.file)
	if step.MayFail() {
		command += " || :"
	}
	if _, err := fmt.Fprintf(s.input, "%s\nprintf '\\%o'\n", command, mark); err != nil {
		return "", fmt.Errorf("hand it to the shell: %w", err)
	}
	output, err := s.output.ReadString(mark)
	if err == nil {
		return strings.TrimSuffix(output, string(mark)), nil
	}
	if err := s.ctx.Err(); err != nil {
		return output, fmt.Errorf("it did not end: %w", err)
	}
	err = s.cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return output, errors.New("it failed with exit code " + strconv.Itoa(exit.ExitCode()))
	}
	return output, errors.Join(errors.New("it ended the shell"), err)
}

// end ends the shell. It may have ended before.
func (s *shell) end() error {
	closed := s.input.Close()
	if s.cmd.ProcessState != nil {
		return nil
	}
	return errors.Join(closed, s.cmd.Wait())
}

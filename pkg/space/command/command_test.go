// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/command"
)

func init() {
	// Logging is set up once per process, and here Main runs several times.
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
}

type component struct {
	run     func(ctx context.Context) error
	colour  string
	started bool
}

func (c *component) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.colour, "colour", "grey", "Colour of the thing.")
}

func (c *component) Run(ctx context.Context) error {
	c.started = true
	if c.run == nil {
		return nil
	}
	return c.run(ctx)
}

func TestMain_exitCodes(t *testing.T) {
	fails := func(context.Context) error { return errors.New("no luck") }
	for name, test := range map[string]struct {
		args   []string
		run    func(context.Context) error
		code   int
		starts bool
		// stderr is a part of what is printed, apart from the log.
		stderr string
	}{
		"no arguments":             {nil, nil, 0, true, ""},
		"the component's own flag": {[]string{"--colour=red"}, nil, 0, true, ""},
		"a flag of logging":        {[]string{"--v=0"}, nil, 0, true, ""},
		"a failure":                {nil, fails, 1, true, ""},
		"an unknown flag":          {[]string{"--shape=round"}, nil, 2, false, "space-test: unknown flag: --shape"},
		"a flag without its value": {[]string{"--colour"}, nil, 2, false, "--colour"},
		"a stray argument":         {[]string{"--colour=red", "blue"}, nil, 2, false, `"blue"`},
		"a bad logging format":     {[]string{"--logging-format=poem"}, nil, 2, false, "logging flags"},
		"help":                     {[]string{"--help"}, nil, 0, false, "Colour of the thing."},
		"help, short":              {[]string{"-h"}, nil, 0, false, "--colour"},
		"version":                  {[]string{"--version"}, nil, 0, false, "space-test v1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &component{run: test.run}
			var stderr bytes.Buffer
			if code := command.Main("space-test", "v1.2.3", c, test.args, &stderr); code != test.code {
				t.Errorf("got exit code %d, want %d; printed:\n%s", code, test.code, &stderr)
			}
			if c.started != test.starts {
				t.Errorf("the component was started: %t, want %t", c.started, test.starts)
			}
			if !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stderr lacks %q:\n%s", test.stderr, &stderr)
			}
		})
	}
}

func TestMain_stopsOnSignals(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			c := &component{run: func(ctx context.Context) error {
				if err := syscall.Kill(syscall.Getpid(), signal); err != nil {
					return err
				}
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(30 * time.Second):
					return errors.New("waited 30s for the signal to end the component's context")
				}
			}}
			if code := command.Main("space-test", "v1.2.3", c, nil, &bytes.Buffer{}); code != 0 {
				t.Errorf("got exit code %d, want 0", code)
			}
		})
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun_printsTheToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"the token":        {[]string{"token", file}, 0, "secret", ""},
		"no token":         {[]string{"token", file + "s"}, 1, "", "no such file"},
		"another argument": {[]string{"kubeconfig"}, 2, "", `"kubeconfig"`},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(test.args, &stdout, &stderr); code != test.code || stdout.String() != test.stdout || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("got code %d, output %q, error %q", code, &stdout, &stderr)
			}
		})
	}
}

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

func TestRun_printsTheTokenOfTheOnlySpace(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, errOut bytes.Buffer
		code = run(args, filepath.Join(dir, "*/token"), &out, &errOut)
		return code, out.String(), errOut.String()
	}
	add := func(claim string) {
		if err := os.Mkdir(filepath.Join(dir, claim), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, claim, "token"), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, stdout, stderr := run("token"); code != 1 || stdout != "" || !strings.Contains(stderr, "0 files") {
		t.Errorf("without a space, got code %d, %q, %q", code, stdout, stderr)
	}
	add("a")
	if code, stdout, stderr := run("token"); code != 0 || stdout != "secret" || stderr != "" {
		t.Errorf("got code %d, %q, %q", code, stdout, stderr)
	}
	add("b")
	if code, stdout, stderr := run("token"); code != 1 || stdout != "" || !strings.Contains(stderr, "2 files") {
		t.Errorf("with two spaces, got code %d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := run("kubeconfig"); code != 2 || !strings.Contains(stderr, `"kubeconfig"`) {
		t.Errorf("with another argument, got code %d, %q", code, stderr)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package readme

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run runs a page with a program kubectl.
func run(t *testing.T, kubectl, text string) error {
	t.Helper()
	page, err := Parse("README.md", markdown(text))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte("#!/bin/sh\n"+kubectl), 0o700); err != nil {
		t.Fatal(err)
	}
	return Runner{Dir: dir, Env: append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH")), Timeout: time.Minute}.Run(t.Context(), page)
}

func TestRun_reportsFailuresAndDifferences(t *testing.T) {
	const lateServiceAccount = `[ -e a ] && echo ns/a unchanged && echo pod/b created && exit
touch a; echo ns/a created; echo 'serviceaccount "default" not found'; exit 1`
	for text, want := range map[string]string{
		"'''bash\nspace=a\necho b >file\n'''\n'''console\n$ cat file\nb\n\n$ echo $space >&2\na\n'''\n": "",
		"'''console\n$ sh -c 'echo Error from server; exit 3'\nError from server\n'''\n":                "",
		"'''console\n$ cat\n'''\n":                                             "",
		"'''bash\necho before\nfalse\necho after\n'''\n":                       "exit status 1\noutput:\nbefore\n",
		"'''bash\nfalse | cat\n'''\n":                                          "exit status 1",
		"'''bash\necho $NOT_SET\n'''\n":                                        "NOT_SET: unbound variable",
		"'''console\n$ echo a; false\na\n'''\n":                                "README.md:2: echo a; false\nexit status 1",
		"'''console\n$ echo a\na\n\n$ echo b\nc\n'''\n":                        "README.md:5: echo b\nthe output is not as expected",
		"'''console\n$ kubectl apply -f a\nns/a created\npod/b created\n'''\n": "",
		"'''bash\ncd .\nkubectl apply -f a\n'''\n":                             "",
	} {
		if err := run(t, lateServiceAccount, text); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nerror: %v\nwant: %s", text, err, want)
		}
	}
}

func TestRun_repeatsCommandsThatOnlyRead(t *testing.T) {
	const oneMoreLineEachTime = "echo pod >>log; cat log"
	for command, succeeds := range map[string]bool{"get pods": true, "get pods | sort": false, "create": false} {
		if err := run(t, oneMoreLineEachTime, "'''console\n$ kubectl "+command+"\npod\npod\n'''\n"); (err == nil) != succeeds {
			t.Errorf("kubectl %s: error %v", command, err)
		}
	}
}

func TestRun_killsProcessesWhenItsContextEnds(t *testing.T) {
	ctx, cancel := signal.NotifyContext(t.Context(), syscall.SIGUSR1)
	defer cancel()
	page := &Page{Name: "README.md", Steps: []Step{{Script: "echo before; kill -USR1 $PPID; cat <(sleep infinity)"}}}
	if err := (Runner{Dir: t.TempDir(), Env: os.Environ()}).Run(ctx, page); err == nil || !strings.Contains(err.Error(), "output:\nbefore") {
		t.Errorf("error %v", err)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// repository has a module with code and one that pins programs.
func repository(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range map[string]string{
		"go.mod":                 "module a\n",
		"tools/pinned/go.mod":    "module b\n\ntool (\n\texample.com/x\n)\n",
		"build/elsewhere/go.mod": "module c\n",
		"components/x/go.mod":    "module e\n",
		".hidden/go.mod":         "module d\n",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// fakeGovulncheck says how it was called, and exits with the code for the folder.
func fakeGovulncheck(t *testing.T, codes string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "govulncheck")
	script := "#!/bin/sh\necho \"called: $*\"\ncase ${PWD##*/} in " + codes + " *) exit 0 ;; esac\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodesTellWhatHappened(t *testing.T) {
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/index/db.json" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(w, `{"modified":"2026-01-01T00:00:00Z"}`)
	}))
	defer answers.Close()
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	defer refuses.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	for _, test := range []struct {
		name, database, codes string
		code                  int
		says                  string
		calls                 int
	}{
		{name: "nothing found", database: answers.URL, code: exitFine, calls: 3},
		{name: "found in one module", database: answers.URL, codes: "pinned) exit 3 ;;", code: exitFound, calls: 3},
		{name: "the other modules are looked at, too", database: answers.URL, codes: "pinned) exit 0 ;; *) exit 3 ;;", code: exitFound, calls: 3},
		{name: "govulncheck fails", database: answers.URL, codes: "pinned) exit 1 ;;", code: exitFailed, says: "tools/pinned", calls: 3},
		{name: "database refuses", database: refuses.URL, code: exitFine, says: "cannot be reached, so nothing was checked", calls: 0},
		{name: "no database", database: gone.URL, code: exitFine, says: "cannot be reached, so nothing was checked", calls: 0},
		{name: "a database of files is always there", database: "file:///nowhere", code: exitFine, calls: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := []string{"--govulncheck", fakeGovulncheck(t, test.codes), "--db", test.database, "--root", repository(t)}
			if code := command(t.Context(), http.DefaultClient, args, &stdout, &stderr); code != test.code {
				t.Errorf("the exit code is %d, want %d; stderr: %s", code, test.code, &stderr)
			}
			if !strings.Contains(stderr.String(), test.says) {
				t.Errorf("it says %q, want %q", &stderr, test.says)
			}
			if test.says != "" && strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("it takes more than a line to say %q", &stderr)
			}
			if calls := strings.Count(stdout.String(), "called:"); calls != test.calls {
				t.Errorf("govulncheck was called %d times, want %d: %s", calls, test.calls, &stdout)
			}
		})
	}
}

func TestWrongFlagsAreNoVulnerabilities(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := command(t.Context(), http.DefaultClient, []string{"--nonsense"}, &stdout, &stderr); code != exitUsage {
		t.Errorf("the exit code is %d", code)
	}
}

func TestEachModuleIsLookedAtInItsWay(t *testing.T) {
	modules, err := findModules(repository(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := []module{{dir: "components/x", pins: true}, {dir: "."}, {dir: "tools/pinned", pins: true}}; !slices.Equal(modules, want) {
		t.Errorf("the modules are %v, want %v", modules, want)
	}
	if args := modules[1].arguments(); !slices.Equal(args, []string{"-test", "./..."}) {
		t.Errorf("code of ours is looked at with %q", args)
	}
	if args := modules[0].arguments(); !slices.Contains(args, "-scan=package") || !slices.Contains(args, "tool") {
		t.Errorf("programs of others are looked at with %q", args)
	}
}

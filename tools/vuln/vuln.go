// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
	// exitFound is govulncheck's own code for vulnerabilities.
	exitFound = 3

	// components is the name of the folder with the modules of the programs that
	// the tests' cluster is made of.
	components = "components"
)

// errUnreachable says that nobody can tell whether there are vulnerabilities.
var errUnreachable = errors.New("the database of vulnerabilities cannot be reached, so nothing was checked")

type scan struct {
	govulncheck string
	database    string
	root        string
	stdout      io.Writer
	stderr      io.Writer
}

func command(ctx context.Context, client *http.Client, args []string, stdout, stderr io.Writer) int {
	s := scan{stdout: stdout, stderr: stderr}
	flags := pflag.NewFlagSet("vuln", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.govulncheck, "govulncheck", "govulncheck", "the program to run")
	flags.StringVar(&s.database, "db", "https://vuln.go.dev", "URL of the database: http, https or file")
	flags.StringVar(&s.root, "root", ".", "the repository")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return exitFine
		}
		fmt.Fprintln(stderr, "vuln:", err)
		return exitUsage
	}
	found, err := s.run(ctx, client)
	switch {
	case errors.Is(err, errUnreachable):
		fmt.Fprintln(stderr, "vuln:", err)
		return exitFine
	case err != nil:
		fmt.Fprintln(stderr, "vuln:", err)
		return exitFailed
	case found:
		return exitFound
	}
	return exitFine
}

// run says whether a module has vulnerabilities. It looks at all modules even if
// the first one has some.
func (s *scan) run(ctx context.Context, client *http.Client) (bool, error) {
	if err := reach(ctx, client, s.database); err != nil {
		return false, err
	}
	modules, err := findModules(s.root)
	if err != nil {
		return false, err
	}
	anyFound := false
	for _, m := range modules {
		fmt.Fprintf(s.stdout, "== %s\n", m.dir)
		found, err := s.module(ctx, m)
		if err != nil {
			return false, fmt.Errorf("checking module %s: %w", m.dir, err)
		}
		anyFound = anyFound || found
	}
	return anyFound, nil
}

func (s *scan) module(ctx context.Context, m module) (bool, error) {
	cmd := exec.CommandContext(ctx, s.govulncheck, append([]string{"-db=" + s.database}, m.arguments()...)...)
	cmd.Dir = filepath.Join(s.root, m.dir)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitFound {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("running %s: %w", s.govulncheck, err)
	}
	return false, nil
}

// reach asks the database for what every scan asks it for first. govulncheck's exit
// code is 1 for a database that does not answer as for any other failure.
func reach(ctx context.Context, client *http.Client, database string) error {
	where, err := url.Parse(database)
	if err != nil {
		return fmt.Errorf("parsing the URL of the database %q: %w", database, err)
	}
	if where.Scheme == "file" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.JoinPath("index", "db.json").String(), nil)
	if err != nil {
		return fmt.Errorf("asking the database %s: %w", database, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answers %s", errUnreachable, request.URL, response.Status)
	}
	return nil
}

// module is a Go module, by its folder in the repository.
type module struct {
	dir string
	// pins is set for modules that only pin programs of others.
	pins bool
}

// arguments has govulncheck follow calls where there is code of ours. Of the
// programs that tests use it is enough to know which packages they are made of.
func (m module) arguments() []string {
	if m.pins {
		return []string{"-scan=package", "./...", "tool"}
	}
	return []string{"-test", "./..."}
}

// findModules leaves out what is built and what is hidden.
func findModules(root string) ([]module, error) {
	var modules []module
	files := os.DirFS(root)
	err := fs.WalkDir(files, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if file == "build" || file != "." && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if entry.Name() != "go.mod" {
			return nil
		}
		content, err := fs.ReadFile(files, file)
		if err != nil {
			return err
		}
		dir := path.Dir(file)
		pins := pinsTools(string(content)) || path.Base(path.Dir(dir)) == components
		modules = append(modules, module{dir: dir, pins: pins})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for modules in %s: %w", root, err)
	}
	if len(modules) == 0 {
		return nil, fmt.Errorf("looking for modules in %s: there is none", root)
	}
	return modules, nil
}

func pinsTools(goMod string) bool {
	for line := range strings.Lines(goMod) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "tool" {
			return true
		}
	}
	return false
}

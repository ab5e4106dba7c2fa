// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package spacetest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/spacetest"
)

// recorder is a test whose failure is recorded.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestNew_failsWithOneLine(t *testing.T) {
	dir := t.TempDir()
	kubeconfig := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, test := range map[string]struct{ kubeconfig, want string }{
		"no kubeconfig":      {filepath.Join(dir, "none"), "spacetest: no space: there is no cluster: set KUBECONFIG, or run the test in a pod"},
		"invalid kubeconfig": {kubeconfig("invalid", "a\nb\x1b\nc"), "spacetest: no space: error loading config file "},
		"no server": {kubeconfig("unreachable", `{"apiVersion":"v1","kind":"Config","current-context":"a",
			"contexts":[{"name":"a","context":{"cluster":"a","namespace":"team"}}],"clusters":[{"name":"a","cluster":{"server":"https://127.0.0.1:1"}}]}`),
			"/namespaces/team/resourceclaims/spacetest-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", test.kubeconfig)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			r := &recorder{TB: t}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				spacetest.New(r)
			}()
			<-ended
			if !strings.Contains(r.message, test.want) || strings.ContainsAny(r.message, "\n\x1b") {
				t.Errorf("it fails with %q, want one line with %q", r.message, test.want)
			}
		})
	}
}

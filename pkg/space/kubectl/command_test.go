// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// run runs the program as kubectl does, for a server that nobody may need to reach.
func run(t *testing.T, program, server string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"here","clusters":[{"name":"c","cluster":{"server":%q}},{"name":"tls","cluster":{"server":"https://127.0.0.1:1"}}],
"contexts":[{"name":"here","context":{"cluster":"c","user":"jane"}},{"name":"there","context":{"cluster":"c"}},{"name":"old","context":{"cluster":"tls","user":"old"}}],
"users":[{"name":"jane","user":{}},{"name":"old","user":{"auth-provider":{"name":"oidc"}}}]}`, server)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	code = Main("v0", append([]string{program, "--kubeconfig", file}, args...), streams)
	return out.String(), errOut.String(), code
}

func TestMessage_isThatOfTheCause(t *testing.T) {
	err := fmt.Errorf("get it: %w", apierrors.NewNotFound(resourceapi.Resource("resourceclaims"), "c"))
	if got, want := message(err), `Error from server (NotFound): resourceclaims.resource.k8s.io "c" not found`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMain_reportsErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"list", "my-claim"}, []string{`unknown command "my-claim" for "kubectl space list"`}},
		{[]string{"describe"}, []string{"error: requires at least 1 arg(s)"}},
		{[]string{"env", "a", "b"}, []string{"error: accepts 1 arg(s), received 2"}},
		{[]string{"env", "resourceclaim/a"}, []string{`"resourceclaim/a" is not the name of a pod, as in pod/NAME`}},
		{[]string{"top", "--colour"}, []string{"error: unknown flag: --colour", "See 'kubectl space top -h' for help"}},
		{[]string{"list", "-o", "nonsense"}, []string{"nonsense"}},
		{[]string{"tops"}, []string{`unknown command "tops" for "kubectl space"`}},
		{[]string{"kubeconfig", "c", "--duration", "1m"}, []string{"less than the 10m0s"}},
		{[]string{"list", "--context", "old"}, []string{"Must provide idp-issuer-url"}}, // the auth provider is known
		{[]string{"list"}, []string{"The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"}},
	} {
		out, errOut, code := run(t, "kubectl-space", "http://127.0.0.1:1", test.args...)
		for _, want := range test.want {
			if code != 1 || out != "" || !strings.Contains(errOut, want) {
				t.Errorf("%v: exit code %d, output %q, want an error with %q, but got %q", test.args, code, out, want, errOut)
			}
		}
	}
}

func TestMain_reportsAClusterWithoutTheAPI(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/namespaces", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"NamespaceList","apiVersion":"v1","items":[]}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	if _, errOut, code := run(t, "kubectl-space", server.URL, "list"); code != 1 || !strings.Contains(errOut, "does not serve resource.k8s.io/v1: spaces need Kubernetes 1.34") {
		t.Errorf("exit code %d, error %q", code, errOut)
	}
}

func TestNewCommand_hasExamples(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	for _, cmd := range newCommand("v0", streams).Commands() {
		if cmd.Example == "" || cmd.Short == "" || cmd.ValidArgsFunction == nil && cmd.Args == nil {
			t.Errorf("%s has no example or says not what it is", cmd.Name())
		}
	}
}

func TestMain_completesContexts(t *testing.T) {
	out, _, code := run(t, completer, "http://127.0.0.1:1", "list", "--context", "")
	if names := strings.Fields(out); code != 0 || !slices.Contains(names, "here") || !slices.Contains(names, "there") {
		t.Errorf("exit code %d, output %q", code, out)
	}
}

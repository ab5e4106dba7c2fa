// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// kubeconfig is for a server that nobody may need to reach.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"here","clusters":[{"name":"c","cluster":{"server":%q}}],
"contexts":[{"name":"here","context":{"cluster":"c","user":"jane"}},{"name":"there","context":{"cluster":"c"}}],"users":[{"name":"jane","user":{}}]}`, server)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// run runs the program as kubectl does.
func run(t *testing.T, program, server string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	code = Main("v0", append([]string{program, "--kubeconfig", kubeconfig(t, server)}, args...), streams)
	return out.String(), errOut.String(), code
}

func TestMain_logsInWithAnAuthProvider(t *testing.T) {
	encoded := func(part string) string { return base64.RawURLEncoding.EncodeToString([]byte(part)) }
	token := encoded(`{"alg":"none"}`) + "." + encoded(`{"exp":4102444800}`) + "."
	var tokens sync.Map
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens.Store(r.Header.Get("Authorization"), true)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"here","clusters":[{"name":"c","cluster":{"server":%q,"insecure-skip-tls-verify":true}}],
"contexts":[{"name":"here","context":{"cluster":"c","user":"jane"}}],"users":[{"name":"jane","user":{"auth-provider":{"name":"oidc",
"config":{"idp-issuer-url":"https://issuer.example.com","client-id":"id","id-token":%q}}}}]}`, server.URL, token)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	streams, _, _, errOut := genericiooptions.NewTestIOStreams()
	if code := Main("v0", []string{"kubectl-space", "--kubeconfig", file, "list"}, streams); code != 1 || !strings.Contains(errOut.String(), "You must be logged in") {
		t.Errorf("exit code %d, printed %q, want the refusal of the server", code, errOut)
	}
	if _, ok := tokens.Load("Bearer " + token); !ok {
		var got []any
		tokens.Range(func(k, _ any) bool { got = append(got, k); return true })
		t.Errorf("the server got %q, want the token of the auth provider", got)
	}
}

func TestMessage_isKubectls(t *testing.T) {
	claims := schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("get it: %w", apierrors.NewNotFound(claims, "c")), `Error from server (NotFound): resourceclaims.resource.k8s.io "c" not found`},
		{fmt.Errorf("list: %w", apierrors.NewForbidden(claims, "", errors.New("no"))), `Error from server (Forbidden): resourceclaims.resource.k8s.io is forbidden: no`},
		{apierrors.NewUnauthorized("Unauthorized"), "error: You must be logged in to the server (Unauthorized)"},
		{errors.New("other"), "error: other"},
	} {
		if got := message(test.err); got != test.want {
			t.Errorf("the message of %v is %q, want %q", test.err, got, test.want)
		}
	}
}

func TestMain_reportsUsageErrors(t *testing.T) {
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
	} {
		out, errOut, code := run(t, "kubectl-space", "http://127.0.0.1:1", test.args...)
		for _, want := range test.want {
			if code != 1 || out != "" || !strings.Contains(errOut, want) {
				t.Errorf("%v: exit code %d, output %q, want an error with %q, but got %q", test.args, code, out, want, errOut)
			}
		}
	}
}

func TestMain_namesAServerThatIsNotThere(t *testing.T) {
	out, errOut, code := run(t, "kubectl-space", "http://127.0.0.1:1", "list")
	if want := "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n"; code != 1 || out != "" || errOut != want {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
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

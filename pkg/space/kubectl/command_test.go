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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// run runs the program as kubectl does, with a kubeconfig for the server.
func run(t *testing.T, program, server string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"here","clusters":[{"name":"c","cluster":{"server":%q}},{"name":"tls","cluster":{"server":"https://127.0.0.1:1"}}],
"contexts":[{"name":"here","context":{"cluster":"c","user":"jane"}},{"name":"there","context":{"cluster":"c"}},{"name":"old","context":{"cluster":"tls","user":"old"}}],
"users":[{"name":"jane","user":{}},{"name":"old","user":{"auth-provider":{"name":"oidc"}}}]}`, server)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return runWith(t, program, append([]string{"--kubeconfig", file}, args...)...)
}

// runWith runs the program with the kubeconfig of its environment.
func runWith(t *testing.T, program string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	code = Main("v0", append([]string{program}, args...), streams)
	return out.String(), errOut.String(), code
}

func TestMessage_isFromTheWrappedStatus(t *testing.T) {
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
		{[]string{"list", "pod/p"}, []string{`error: "pod/p" is not the name of a resourceclaim, as in resourceclaim/NAME`}},
		{[]string{"list", "a", "-l", "team=ci"}, []string{"error: name cannot be provided when a selector is specified"}},
		{[]string{"list", "a", "-A"}, []string{"error: a resource cannot be retrieved by name across all namespaces"}},
		{[]string{"list", "-l", "a b"}, []string{"error: unable to parse requirement"}},
		{[]string{"top", "-o", "nonsense"}, []string{"nonsense", "wide"}},
		{[]string{"top", "pool"}, []string{`unknown command "pool" for "kubectl space top"`}},
		{[]string{"describe"}, []string{"error: requires at least 1 arg(s)"}},
		{[]string{"env", "a", "b"}, []string{"error: accepts 1 arg(s), received 2"}},
		{[]string{"env", "resourceclaim/a"}, []string{`"resourceclaim/a" is not the name of a pod, as in pod/NAME`}},
		{[]string{"top", "--colour"}, []string{"error: unknown flag: --colour", "See 'kubectl space top --help' for usage."}},
		{[]string{"list", "-o", "nonsense"}, []string{"nonsense"}},
		{[]string{"credential"}, []string{`error: required flag(s) "claim" not set`}},
		{[]string{"collect", "c"}, []string{`error: required flag(s) "output" not set`}},
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
	if _, errOut, code := run(t, "kubectl-space", server.URL, "list"); code != 1 || !strings.Contains(errOut, "does not serve resource.k8s.io/v1: spaces need Kubernetes 1.34.2") {
		t.Errorf("exit code %d, error %q", code, errOut)
	}
}

func TestNewCommand_hasHelp(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	for _, cmd := range newCommand("kubectl-space", "v0", streams).Commands() {
		if !strings.HasPrefix(cmd.Example, "  # ") || cmd.Short == "" || cmd.Long == "" || cmd.ValidArgsFunction == nil && cmd.Args == nil {
			t.Errorf("%s lacks an example with a comment, a description, or rules for its arguments", cmd.Name())
		}
		if cmd.Name() == "options" {
			continue // As in kubectl, it has no help.
		}
		help, _, code := run(t, "kubectl-space", "http://127.0.0.1:1", cmd.Name(), "--help")
		if code != 0 || !strings.Contains(help, "Usage:\n  kubectl space "+cmd.Name()) || strings.Contains(help, "--insecure-skip-tls-verify") {
			t.Errorf("exit code %d, and the help of %s is\n%s", code, cmd.Name(), help)
		}
	}
	if help, _, code := run(t, "kubectl-space", "http://127.0.0.1:1", "--help"); code != 0 || !strings.Contains(help, `Use "kubectl space <command> --help"`) || strings.Contains(help, "kubectl-space") {
		t.Errorf("exit code %d, and the help is\n%s", code, help)
	}
	if out, _, code := run(t, "kubectl-space", "http://127.0.0.1:1", "options"); code != 0 || !strings.Contains(out, "--insecure-skip-tls-verify") || !strings.Contains(out, "--driver-name") {
		t.Errorf("exit code %d, and the flags of all commands are\n%s", code, out)
	}
}

func TestCommands_continueAfterAFailedArgument(t *testing.T) {
	url := serve(t, []runtime.Object{ready(t, "c"), class(driver, "")})
	failures := map[string]int{"describe": 1, "why": 2, "list": 1}
	for command, want := range map[string]string{"describe": "Claim:             c", "why": "ResourceClaim c has its space", "list": "c       ephemeral"} {
		out, errOut, code := run(t, "kubectl-space", url, command, "-n", "team", "nope", "c", "nada")
		if code != failures[command] || !strings.Contains(out, want) || strings.Count(errOut, "\n") != 2 || !strings.Contains(errOut, "nope") || !strings.Contains(errOut, "nada") {
			t.Errorf("%s: exit code %d, output\n%s\nand errors\n%s", command, code, out, errOut)
		}
	}
}

func TestMain_completesContexts(t *testing.T) {
	out, _, code := run(t, completer, "http://127.0.0.1:1", "list", "--context", "")
	if names := strings.Fields(out); code != 0 || !slices.Contains(names, "here") || !slices.Contains(names, "there") {
		t.Errorf("exit code %d, output %q", code, out)
	}
}

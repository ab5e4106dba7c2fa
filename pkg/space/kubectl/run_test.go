// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func TestRun_givesTheCommandAKubeconfigAndPassesOnItsExitCode(t *testing.T) {
	ready := ready(t, "try", "pod")
	server := serve(t, []runtime.Object{ready})
	t.Setenv("SHELL", filepath.Join(t.TempDir(), "shell"))
	if err := os.WriteFile(os.Getenv("SHELL"), []byte("#!/bin/sh\nexit 5\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	for name, test := range map[string]struct {
		args []string
		code int
	}{
		"succeeds":       {[]string{"exec", "try", "--", "sh", "-c", "cp $KUBECONFIG " + copied + "; echo $KUBECONFIG"}, 0},
		"fails":          {[]string{"run", "--claim=try", "--", "sh", "-c", "echo $KUBECONFIG; exit 7"}, 7},
		"ends by signal": {[]string{"run", "--claim=try", "--", "sh", "-c", "echo $KUBECONFIG; kill -TERM $$"}, 143},
		"a shell fails":  {[]string{"shell", "--claim=try"}, 5},
	} {
		stdout, stderr, code := run(t, "kubectl-space", server, append([]string{"-n", "team"}, test.args...)...)
		if code != test.code || stderr != "" {
			t.Errorf("%s: got exit code %d, want %d: %s", name, code, test.code, stderr)
		}
		if file := strings.TrimSpace(stdout); file != "" {
			if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
				t.Errorf("%s: the kubeconfig remains, error %v", name, err)
			}
		}
	}
	config, err := clientcmd.LoadFromFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	context := config.Contexts[config.CurrentContext]
	user := config.AuthInfos[context.AuthInfo]
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig has mode %v, error %v", info.Mode(), err)
	}
	if context.Namespace != spaceName(ready) || user.Token != "" || user.Exec == nil || !strings.Contains(strings.Join(user.Exec.Args, " "), "credential --claim=try --namespace=team") {
		t.Errorf("the kubeconfig has namespace %q and user %v", context.Namespace, user)
	}
}

func TestRun_createsNothingInVain(t *testing.T) {
	server := serve(t, []runtime.Object{ready(t, "try", "pod"), claim("waiting", driver)}, "jobs")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "error: the command is missing, as in: kubectl space run [--claim CLAIM] -- COMMAND [ARG ...]"},
		{[]string{"run", "ls"}, "error: the command is missing, as in"},
		{[]string{"exec", "try"}, "error: the command is missing, as in: kubectl space exec CLAIM -- COMMAND [ARG ...]"},
		{[]string{"run", "--", "no-such-command"}, `error: exec: "no-such-command": executable file not found`},
		{[]string{"run", "--claim=try", "--class=ci", "--", "true"}, "[claim class] were all set"},
		{[]string{"run", "-f", "missing.yaml", "--", "true"}, "error: open missing.yaml: no such file"},
		{[]string{"run", "--", "true"}, "Error from server (Forbidden): "},
		{[]string{"create", "try"}, `Error from server (AlreadyExists): resourceclaims.resource.k8s.io "try" already exists`},
		{[]string{"create", "other", "--ttl=1ms"}, "error: --ttl 1ms is less than a second"},
		{[]string{"exec", "waiting", "--", "true"}, "error: ResourceClaim waiting has no space that is ready"},
		{[]string{"exec", "other", "--", "true"}, `Error from server (NotFound): resourceclaims "other" not found`},
		{[]string{"wait", "other"}, `Error from server (NotFound): resourceclaims.resource.k8s.io "other" not found`},
		{[]string{"wait", "try", "--for=deleted"}, "error: --for must be ready or gone"},
	} {
		if _, stderr, code := run(t, "kubectl-space", server, append([]string{"-n", "team"}, test.args...)...); code != 1 || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: got exit code %d, %q, want 1, %q", test.args, code, stderr, test.want)
		}
	}
	if _, stderr, code := run(t, "kubectl-space", server, "-n", "team", "wait", "other", "--for=gone"); code != 0 {
		t.Errorf("wait for a claim that does not exist to be gone: got exit code %d: %s", code, stderr)
	}
}

func TestDelete_keepsWhatHasNoHolder(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "mine"}}
	server := serve(t, []runtime.Object{claim("mine", driver), claim("try", driver), job})
	for name, want := range map[string]string{
		"try":   "error: ResourceClaim try is not one of kubectl space create: delete its pods, and run kubectl delete resourceclaim try",
		"mine":  "error: ResourceClaim mine is not one of kubectl space create",
		"other": `Error from server (NotFound): resourceclaims "other" not found`,
	} {
		if stdout, stderr, code := run(t, "kubectl-space", server, "-n", "team", "delete", name); code != 1 || stdout != "" || !strings.HasPrefix(stderr, want) {
			t.Errorf("delete %s: got exit code %d, %q, %q", name, code, stdout, stderr)
		}
	}
}

func TestSpacesReady_knowsWhatIsFinal(t *testing.T) {
	for reason, want := range map[string]struct{ done, fails bool }{
		spaceapi.ReasonProvisioned:        {true, false},
		spaceapi.ReasonProvisioningFailed: {false, false},
		spaceapi.ReasonInvalidParameters:  {false, true},
	} {
		done, err := spacesReady(withCondition(t, allocated(claim("try", driver), "spaces"), reason, "a message"), driver)
		if done != want.done || (err != nil) != want.fails {
			t.Errorf("%s: got %t, error %v", reason, done, err)
		}
	}
	if done, err := spacesReady(claim("try", driver), driver); done || err != nil {
		t.Errorf("not allocated: got %t, error %v", done, err)
	}
}

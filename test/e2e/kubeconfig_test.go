// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestKubeconfig_worksWhereToolsPutIt(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("claim"), framework.NewPod("pod", "claim"))
	// Another file, as users have it, with a cluster that does not respond.
	const other = `
kubectl --kubeconfig=$other config set-cluster other --server=https://other.invalid
kubectl --kubeconfig=$other config set-context other --cluster=other
kubectl --kubeconfig=$other config use-context other
`
	// Each prints the user that kubectl authenticates as.
	for name, script := range map[string]string{
		"as it is":               `kubectl --kubeconfig=$file $whoami`,
		"from another directory": `cd /proc; KUBECONFIG=../$file kubectl $whoami`,
		"the one in /etc":        `kubectl --kubeconfig=/etc/claim/kubeconfig $whoami`,
		"a copy":                 `cp $file $dir/copy; cd $dir; kubectl --kubeconfig=copy $whoami`,
		"a copy as the default":  `mkdir $dir/.kube; cp $file $dir/.kube/config; HOME=$dir kubectl $whoami`,
		"a symbolic link":        `mkdir $dir/.kube; ln -s /etc/claim/kubeconfig $dir/.kube/config; HOME=$dir kubectl $whoami`,
		"flattened":              `kubectl --kubeconfig=$file config view --raw --flatten >$dir/flat; kubectl --kubeconfig=$dir/flat $whoami`,
		"minified":               `kubectl --kubeconfig=$file config view --raw --flatten --minify >$dir/min; kubectl --kubeconfig=$dir/min $whoami`,
		"the second of a list":   `KUBECONFIG=$dir/missing:$file kubectl $whoami`,
		"the first of a list":    other + `KUBECONFIG=$file:$other kubectl $whoami`,
		"a context of a list":    other + `KUBECONFIG=$other:$file kubectl --context=space $whoami`,
		"merged with another":    other + `KUBECONFIG=$other:$file kubectl config view --raw --flatten >$dir/merged; kubectl --kubeconfig=$dir/merged --context=space $whoami`,
		// Tools that write need a copy: the directory is read-only.
		"a copy that is changed": `
! kubectl --kubeconfig=$file config use-context space 2>$dir/error
grep -q "read-only file system" $dir/error
mkdir $dir/.kube
cp $file $dir/.kube/config
export HOME=$dir
kubectl config rename-context space mine
kubectl config set-context --current --namespace=default
kubectl config use-context mine
test "$(kubectl config view --minify -o 'jsonpath={..namespace}')" = default
kubectl $whoami`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := env.Exec(t, ns, "pod", "sh", "-euc", `
file=$CLAIM_KUBECONFIG
whoami="auth whoami -o jsonpath={.status.userInfo.username}"
dir=$(mktemp -d)
other=$dir/other
`+script)
			if want := "system:serviceaccount:" + s.Namespace + ":space"; !strings.HasSuffix(out, want) {
				t.Errorf("kubectl authenticates as %s, want %s", out, want)
			}
		})
	}
}

func TestEmbedToken_isForClientsThatDoNotKnowTokenFile(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, withClaimConfig(framework.NewClaim("embedded"), `,"embedToken":true`))
	env.CreateClaim(t, ns, framework.NewClaim("usual"))
	env.CreatePod(t, ns, framework.NewPod("pod", "embedded", "usual"))
	// A client that does not know the field is one whose file does not have it.
	as := func(claim string) string {
		out, err := env.TryExec(t.Context(), ns, "pod", "sh", "-euc", `
sed /tokenFile/d /etc/`+claim+`/kubeconfig >/tmp/`+claim+`
kubectl --kubeconfig=/tmp/`+claim+` get --raw=/apis/authentication.k8s.io/v1
kubectl --kubeconfig=/tmp/`+claim+` auth whoami -o 'jsonpath={.status.userInfo.username}'`)
		if err != nil {
			return "nobody: " + out
		}
		return out
	}
	s := env.SpaceOf(t, ns, "pod", "embedded")
	if got, want := as("embedded"), "system:serviceaccount:"+s.Namespace+":space"; !strings.HasSuffix(got, want) {
		t.Errorf("with embedToken, such a client authenticates as %s, want %s", got, want)
	}
	if got := as("usual"); strings.Contains(got, ":space") {
		t.Errorf("without embedToken, such a client authenticates as %s: this test proves nothing", got)
	}
	token := strings.TrimSpace(env.Exec(t, ns, "pod", "cat", "/etc/embedded/token"))
	if kubeconfig := env.Exec(t, ns, "pod", "cat", "/etc/embedded/kubeconfig"); !strings.Contains(kubeconfig, token) {
		t.Error("the kubeconfig has another token than the file")
	}
	if kubeconfig := env.Exec(t, ns, "pod", "cat", "/etc/usual/kubeconfig"); strings.Contains(kubeconfig, "\n    token:") {
		t.Error("a kubeconfig has a token that nobody asked for")
	}
	// The claim's status never has a token.
	claim := framework.Await(t, framework.Claim(env.Client, ns, "embedded"), framework.SpacesReady(1))
	if status := framework.SpaceStatus(t, claim, 0); strings.Contains(status.Kubeconfig, "\n    token:") {
		t.Error("the claim's status has a token")
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// choosing adds a user's choice to a claim. fields are JSON, beginning with a comma.
func choosing(claim *resourceapi.ResourceClaim, fields string) *resourceapi.ResourceClaim {
	return framework.WithParameters(claim, fmt.Sprintf(`{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, spaceapi.SpaceClaimConfigKind, fields))
}

// field is an object of strings as a field of parameters.
func field(t *testing.T, name string, values map[string]string) string {
	t.Helper()
	raw, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(",%q:%s", name, raw)
}

// whoAmI is the user that the API server sees if a container uses kubectl without flags.
func whoAmI(t *testing.T, ns, pod string) string {
	t.Helper()
	return env.Exec(t, ns, pod, "kubectl", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
}

func TestEnv_hasTheValuesOfClassAndClaim(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	values := map[string]string{
		"empty": "", "spaces": "  a  b  ", "quotes": `it's "quoted" \ `, "equals": "=a=b=", "utf8": "äöü – 空間 🚀",
		"lines": "one\ntwo\n", "yaml": "- a: {b: [c, *d]} # e", "shell": "$(id) $(HOME) ${HOME} `id`", "Mixed_1": "~",
	}
	createClass(t, classOf("with-parameters", spaceapi.DefaultDriverName, spaceapi.SpaceClassConfigKind, field(t, "env", values)))
	env.CreateClaim(t, ns, choosing(claimOfClass("with-parameters"), field(t, "env", values)))
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	for key, want := range values {
		for _, prefix := range []string{"admin_", "user_"} {
			if got := env.Exec(t, ns, "pod", "printenv", prefix+key); got != want+"\n" {
				t.Errorf("%s is %q, want %q", prefix+key, got, want+"\n")
			}
		}
	}
	env.SpaceOf(t, ns, "pod", "CLAIM").Usable(t, ns, "pod")
}

func TestClaimConfig_choosesPrefixAndPaths(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := framework.NewClaim("claim")
	claim = choosing(claim, `,"envPrefix":"PREVIEW","mountPath":"/home/app/.space","kubeconfigEnv":true`)
	env.CreateClaim(t, ns, claim)
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))

	s := env.SpaceOf(t, ns, "pod", "PREVIEW")
	s.Usable(t, ns, "pod")
	for name, value := range env.Variables(t, ns, "pod") {
		if strings.HasPrefix(name, "CLAIM_") {
			t.Errorf("the usual variable %s is there as well: %q", name, value)
		}
	}
	// In one more place beside the usual ones.
	for _, dir := range []string{"/home/app/.space", "/etc/claim", path.Dir(s.Kubeconfig)} {
		env.Exec(t, ns, "pod", "kubectl", "--kubeconfig", dir+"/kubeconfig", "get", "configmap", "from-pod")
	}
	if out, err := env.TryExec(t.Context(), ns, "pod", "sh", "-c", "echo x > /home/app/.space/token"); err == nil {
		t.Errorf("the token could be written: %s", out)
	}
	// And kubectl needs no flag.
	env.Exec(t, ns, "pod", "kubectl", "get", "configmap", "from-pod")
	if got, want := whoAmI(t, ns, "pod"), "system:serviceaccount:"+s.Namespace+":space"; got != want {
		t.Errorf("kubectl works as %s, want %s", got, want)
	}
}

func TestInCluster_clientsWorkInTheSpace(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*corev1.PodSpec){
		"in place of the pod's own": func(*corev1.PodSpec) {},
		"where the pod has none":    func(p *corev1.PodSpec) { p.AutomountServiceAccountToken = ptr.To(false) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			env.CreateClaim(t, ns, choosing(framework.NewClaim("claim"), `,"inCluster":true`))
			pod := framework.NewPod("pod", "claim")
			other := *pod.Spec.Containers[0].DeepCopy()
			other.Name = "other"
			other.Resources.Claims = nil
			change(&pod.Spec)
			pod.Spec.Containers = append(pod.Spec.Containers, other)
			env.CreatePod(t, ns, pod)

			s := env.SpaceOf(t, ns, "pod/ctr", "CLAIM")
			if got, want := whoAmI(t, ns, "pod/ctr"), "system:serviceaccount:"+s.Namespace+":space"; got != want {
				t.Errorf("kubectl works as %s, want %s", got, want)
			}
			s.Kubectl(t, ns, "pod/ctr", "get", "configmaps")
			env.Exec(t, ns, "pod/ctr", "kubectl", "create", "configmap", "in-cluster")
			s.Kubectl(t, ns, "pod/ctr", "get", "configmap", "in-cluster")
			const dir = "/var/run/secrets/kubernetes.io/serviceaccount"
			if got := env.Exec(t, ns, "pod/ctr", "cat", dir+"/namespace"); got != s.Namespace {
				t.Errorf("the namespace of clients in the cluster is %q, want %q", got, s.Namespace)
			}
			for _, file := range []string{"token", "ca.crt"} {
				env.Exec(t, ns, "pod/ctr", "cmp", dir+"/"+file, "/etc/claim/"+file)
			}

			// The container that does not use the claim has what the pod has.
			out, err := env.TryExec(t.Context(), ns, "pod/other", "cat", dir+"/namespace")
			switch own := ptr.Deref(pod.Spec.AutomountServiceAccountToken, true); {
			case own && (err != nil || out != ns):
				t.Errorf("the other container is in namespace %q, error %v, want %q", out, err, ns)
			case !own && err == nil:
				t.Errorf("the other container is in namespace %q, want none", out)
			}
		})
	}
}

func TestTokenLifetime_isThatOfTheClass(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	createClass(t, classOf("half-an-hour", spaceapi.DefaultDriverName, spaceapi.SpaceClassConfigKind, `,"tokenLifetime":"30m"`))
	short := claimOfClass("half-an-hour")
	short.Name = "test-claim"
	env.CreateClaim(t, ns, short)
	env.CreateClaim(t, ns, framework.NewClaim("usual"))
	env.CreatePod(t, ns, framework.NewPod("pod", "test-claim", "usual"))
	for claim, want := range map[string]time.Duration{"test-claim": 30 * time.Minute, "usual": time.Hour} {
		if got := lifetimeOfToken(t, ns, "pod", claim); got != want {
			t.Errorf("the token of claim %s lives %s, want %s", claim, got, want)
		}
	}

}

// lifetimeOfToken reads the middle part of a token, which alone is worth nothing.
func lifetimeOfToken(t *testing.T, ns, pod, claim string) time.Duration {
	t.Helper()
	file := "/etc/" + claim + "/token"
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(env.Exec(t, ns, pod, "cut", "-d.", "-f2", file)))
	if err != nil {
		t.Fatalf("the token in %s is not in base64", file)
	}
	var claims struct{ Exp, Iat int64 }
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatalf("the token in %s is not JSON", file)
	}
	return time.Duration(claims.Exp-claims.Iat) * time.Second
}

// Names of claims and requests can meet in a pod. Each claim's files stay its own.
func TestClaims_withCollidingNamesHaveTheirOwnFiles(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("a", "b", "c"))
	env.CreateClaim(t, ns, framework.NewClaim("a-b"))
	env.CreatePod(t, ns, framework.NewPod("pod", "a", "a-b"))
	first, second := env.Exec(t, ns, "pod", "cat", "/etc/a/b/namespace"), env.Exec(t, ns, "pod", "cat", "/etc/a-b/namespace")
	if first == second {
		t.Errorf("both have namespace %s", first)
	}
	// The variables are all of one of the two.
	if s := env.SpaceOf(t, ns, "pod", "A_B"); s.Namespace != first && s.Namespace != second {
		t.Errorf("the variables name %s, want %s or %s", s.Namespace, first, second)
	}

	// With a prefix, both can be told apart.
	env.CreateClaim(t, ns, choosing(framework.NewClaim("apart"), `,"envPrefix":"OTHER"`))
	pod := framework.NewPod("pod2", "a", "apart")
	env.CreatePod(t, ns, pod)
	if a, other := env.SpaceOf(t, ns, "pod2", "A_B"), env.SpaceOf(t, ns, "pod2", "OTHER"); a.Namespace != first || other == a {
		t.Errorf("got %v and %v", a, other)
	}
}

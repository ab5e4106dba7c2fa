// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// withClaimConfig adds a SpaceClaimConfig to a claim. fields are JSON, with a comma before each.
func withClaimConfig(claim *resourceapi.ResourceClaim, fields string) *resourceapi.ResourceClaim {
	return framework.WithParameters(claim, fmt.Sprintf(`{"apiVersion":%q,"kind":%q%s}`, spaceapi.APIVersion, spaceapi.SpaceClaimConfigKind, fields))
}

// checkUser fails the test unless kubectl without flags uses the ServiceAccount of the space.
func checkUser(t *testing.T, ns, pod string, s framework.Space) {
	t.Helper()
	got := env.Exec(t, ns, pod, "kubectl", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
	if want := "system:serviceaccount:" + s.Namespace + ":space"; got != want {
		t.Errorf("kubectl uses %s, want %s", got, want)
	}
}

func TestInvalidParameters_areReportedToClaimAndPod(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, withClaimConfig(framework.NewClaim("test-claim"), `,"clusterRoles":["cluster-admin"]`))
	env.StartPod(t, ns, framework.NewPod("pod", "test-claim"))
	const words = `clusterRoles[0]: Invalid value: "cluster-admin"`

	events := env.Client.CoreV1().RESTClient()
	framework.AwaitAny(t, events, "events", ns, framework.EventAbout("Pod", "pod", spaceapi.ReasonInvalidParameters, words))
	// The kubelet's event contains the error of the kubelet plugin.
	framework.AwaitAny(t, events, "events", ns, framework.EventAbout("Pod", "pod", "FailedPrepareDynamicResources", words))

	claim := framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), allocated())
	env.CheckNoSpaceOf(t, claim.UID)
	env.DeletePod(t, ns, "pod")
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
}

func TestEnv_hasTheValuesOfClassAndClaim(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	values := map[string]string{
		"empty": "", "spaces": "  a  b  ", "quotes": `it's "quoted" \ `, "equals": "=a=b=", "utf8": "äöü – 空間 🚀",
		"lines": "one\ntwo\n", "yaml": "- a: {b: [c, *d]} # e", "shell": "$(id) $(HOME) ${HOME} `id`", "Mixed_1": "~",
	}
	fields := `,"env":` + framework.JSON(values)
	createClass(t, classOf("with-parameters", spaceapi.DefaultDriverName, fields))
	s := env.Use(t, ns, withClaimConfig(claimOf("claim", "with-parameters"), fields), framework.NewPod("pod", "claim"))
	s.CheckUsable(t, ns, "pod")
	for key, want := range values {
		for _, prefix := range []string{"admin_", "user_"} {
			if got := env.Exec(t, ns, "pod", "printenv", prefix+key); got != want+"\n" {
				t.Errorf("%s is %q, want %q", prefix+key, got, want+"\n")
			}
		}
	}
}

func TestClaimConfig_setsPrefixAndPaths(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, withClaimConfig(framework.NewClaim("claim"), `,"envPrefix":"PREVIEW","mountPath":"/home/app/.space","kubeconfigEnv":true`))
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))

	s := env.SpaceOf(t, ns, "pod", "PREVIEW")
	s.CheckUsable(t, ns, "pod")
	for name, value := range env.Variables(t, ns, "pod") {
		if strings.HasPrefix(name, "CLAIM_") {
			t.Errorf("the pod also has the default variable %s: %q", name, value)
		}
	}
	// The additional mount, and those that each claim has.
	for _, dir := range []string{"/home/app/.space", "/etc/claim", path.Dir(s.Kubeconfig)} {
		env.Exec(t, ns, "pod", "kubectl", "--kubeconfig", dir+"/kubeconfig", "get", "configmap", "from-pod")
	}
	if out, err := env.TryExec(t.Context(), ns, "pod", "sh", "-c", "echo x > /home/app/.space/token"); err == nil {
		t.Errorf("a container can write the token: %s", out)
	}
	env.Exec(t, ns, "pod", "kubectl", "get", "configmap", "from-pod")
	checkUser(t, ns, "pod", s)
}

func TestInCluster_clientsWorkInTheSpace(t *testing.T) {
	t.Parallel()
	for name, automount := range map[string]*bool{
		"instead of the pod's own files": nil,
		"in a pod without own files":     ptr.To(false),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			env.CreateClaim(t, ns, withClaimConfig(framework.NewClaim("claim"), `,"inCluster":true`))
			pod := framework.NewPod("pod", "claim")
			other := *pod.Spec.Containers[0].DeepCopy()
			other.Name = "other"
			other.Resources.Claims = nil
			pod.Spec.AutomountServiceAccountToken = automount
			pod.Spec.Containers = append(pod.Spec.Containers, other)
			env.CreatePod(t, ns, pod)

			s := env.SpaceOf(t, ns, "pod/ctr", "claim")
			checkUser(t, ns, "pod/ctr", s)
			env.Exec(t, ns, "pod/ctr", "kubectl", "create", "configmap", "in-cluster")
			s.Kubectl(t, ns, "pod/ctr", "get", "configmap", "in-cluster")
			const dir = "/var/run/secrets/kubernetes.io/serviceaccount"
			if got := env.Exec(t, ns, "pod/ctr", "cat", dir+"/namespace"); got != s.Namespace {
				t.Errorf("the namespace of clients in the cluster is %q, want %q", got, s.Namespace)
			}
			for _, file := range []string{"token", "ca.crt"} {
				env.Exec(t, ns, "pod/ctr", "cmp", dir+"/"+file, "/etc/claim/"+file)
			}

			// A container that does not use the claim has the files of the pod.
			out, err := env.TryExec(t.Context(), ns, "pod/other", "cat", dir+"/namespace")
			switch own := ptr.Deref(automount, true); {
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
	createClass(t, classOf("half-an-hour", spaceapi.DefaultDriverName, `,"tokenLifetime":"30m"`))
	env.CreateClaim(t, ns, claimOf("short", "half-an-hour"))
	env.CreateClaim(t, ns, framework.NewClaim("usual"))
	env.CreatePod(t, ns, framework.NewPod("pod", "short", "usual"))
	for claim, want := range map[string]time.Duration{"short": 30 * time.Minute, "usual": time.Hour} {
		issued, expires := framework.TokenValidity(t, env.Exec(t, ns, "pod", "cat", "/etc/"+claim+"/token"))
		if got := expires.Sub(issued); got != want {
			t.Errorf("the token of claim %s has a lifetime of %s, want %s", claim, got, want)
		}
	}
}

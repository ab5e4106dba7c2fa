// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestKubectlSpace(t *testing.T) {
	startController(t, env)
	t.Run("lists spaces for an administrator", pluginLists)
	t.Run("lists what a user of a namespace may see, and says what not", pluginListsForUser)
	t.Run("shows spaces that change", pluginWatches)
	t.Run("describes a claim", pluginDescribes)
	t.Run("completes names of claims", pluginCompletes)
	t.Run("explains why there is no space", pluginExplains)
	t.Run("gives a kubeconfig to who may have it, and to nobody else", pluginGivesKubeconfig)
	t.Run("says what a pod sees, and what of the pools is used", pluginEnvAndTop)
}

// lines are the lines of a table, each with single spaces between its columns.
func lines(table string) []string {
	var out []string
	for line := range strings.Lines(table) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return out
}

// user may read claims in a namespace, and whatever else the rules say.
func user(t *testing.T, ns string, rules ...rbacv1.PolicyRule) framework.Person {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "user"}
	rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims"}, Verbs: []string{"get", "list", "watch"}})
	_, err := env.Client.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	if err == nil {
		_, err = env.Client.RbacV1().Roles(ns).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = env.Client.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "user"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "user"}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatalf("make a user of namespace %s: %v", ns, err)
	}
	client := env.As(t, ns, "user")
	framework.AwaitAllowed(t, "a request of a user of namespace "+ns, func(ctx context.Context) error {
		_, err := client.ResourceV1().ResourceClaims(ns).List(ctx, metav1.ListOptions{})
		return err
	})
	return env.PersonWith(t, ns, "user")
}

func pluginLists(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	env.CreateClaim(t, ns, framework.NewClaim("waits"))
	admin := env.Administrator()
	out, _ := admin.Space(t, "list", "-n", ns)
	got := lines(out)
	if len(got) != 3 || got[0] != "CLAIM SPACE STATE PODS NODES POOL QUOTA AGE" ||
		!strings.HasPrefix(got[1], "claim "+spaces[0].Namespace+" Ready <none> <none> spaces <none> ") || !strings.HasPrefix(got[2], "waits <none> Unused ") {
		t.Errorf("the list is\n%s", out)
	}
	if out, _ := admin.Space(t, "list", "-A", "--sort-by=.metadata.name", "-o", "wide"); !strings.Contains(out, "NAMESPACE") || !strings.Contains(out, "ALLOCATION") || !strings.Contains(out, ns) {
		t.Errorf("the wide list of all namespaces is\n%s", out)
	}
	if out, _ := admin.Space(t, "list", "-n", ns, "-o", "name"); out != "resourceclaim.resource.k8s.io/claim\nresourceclaim.resource.k8s.io/waits\n" {
		t.Errorf("the names are\n%s", out)
	}
	if out, _ := admin.Space(t, "list", "-n", ns, "-o", "jsonpath={.items[*].space}"); out != spaces[0].Namespace {
		t.Errorf("the names of the namespaces are %q, want %q", out, spaces[0].Namespace)
	}
	out, _ = admin.Space(t, "list", "-n", ns, "-o", "json")
	var list struct {
		Items []struct{ APIVersion, Kind, State, Space string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Items) != 2 || list.Items[0].State != "Ready" || list.Items[0].Kind != "Space" || list.Items[0].APIVersion != spaceapi.APIVersion {
		t.Errorf("as JSON the list is (error %v)\n%s", err, out)
	}
	if _, stderr, err := admin.TrySpace(t.Context(), "list", "-o", "nonsense"); err == nil || !strings.Contains(stderr, "nonsense") {
		t.Errorf("an unknown format: error %v: %s", err, stderr)
	}
}

func pluginListsForUser(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	person := user(t, ns)
	out, note := person.Space(t, "list", "-n", ns)
	if got := lines(out); len(got) != 2 || !strings.HasPrefix(got[1], "claim "+spaces[0].Namespace+" Ready <none> <none> spaces <unknown> ") {
		t.Errorf("the list is\n%s", out)
	}
	for _, right := range []string{"list pods", "list deviceclasses", "list namespaces", "list resourcequotas"} {
		if !strings.Contains(note, right) {
			t.Errorf("nothing is said of the right to %s: %s", right, note)
		}
	}
	if _, stderr, err := person.TrySpace(t.Context(), "list", "-A"); err == nil || !strings.Contains(stderr, "resourceclaims") || !strings.Contains(stderr, "forbidden") {
		t.Errorf("all namespaces: error %v: %s", err, stderr)
	}
}

func pluginWatches(t *testing.T) {
	ns := env.Namespace(t)
	standing(t, env, ns, "first")
	ctx, cancel := context.WithTimeout(t.Context(), framework.Patience)
	cmd := exec.CommandContext(ctx, framework.Binary("kubectl-space"), "list", "-n", ns, "-w", "--kubeconfig", env.Cluster.Kubeconfig())
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	shown := bufio.NewScanner(stdout)
	var seen []string
	awaitLine := func(words ...string) {
		t.Helper()
		for shown.Scan() {
			seen = append(seen, shown.Text())
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(shown.Text(), word) }) {
				return
			}
		}
		t.Fatalf("no line with %q was shown, but:\n%s", words, strings.Join(seen, "\n"))
	}
	awaitLine("first ", "Ready")
	standing(t, env, ns, "second")
	awaitLine("second ", "Ready")
	framework.Deallocate(t, env, ns, "first")
	awaitLine("first ", "Unused")
}

func pluginDescribes(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim", "a", "b")
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonProvisioned, spaces[0].Namespace))
	out, _ := env.Administrator().Space(t, "describe", "resourceclaim/claim", "-n", ns)
	for _, want := range []string{spaces[0].Namespace, spaces[1].Namespace, "Pod Security:", "Provisioned", "Request:", "ServiceAccount:"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	if _, stderr, err := env.Administrator().TrySpace(t.Context(), "describe", "nothing", "-n", ns); err == nil || !strings.Contains(stderr, `"nothing" not found`) {
		t.Errorf("a claim that is not there: error %v: %s", err, stderr)
	}
}

// pluginCompletes asks as kubectl does.
func pluginCompletes(t *testing.T) {
	ns := env.Namespace(t)
	standing(t, env, ns, "claim-a")
	env.CreateClaim(t, ns, framework.NewClaim("other"))
	cmd := exec.CommandContext(t.Context(), framework.Binary("kubectl_complete-space"), "describe", "--namespace="+ns, "--kubeconfig="+env.Cluster.Kubeconfig(), "cl")
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "claim-a\n") || strings.Contains(string(out), "other") {
		t.Errorf("describe cl is completed to %q, error %v", out, err)
	}
}

func pluginExplains(t *testing.T) {
	ns := env.Namespace(t)
	standing(t, env, ns, "has")
	env.CreateClaim(t, ns, framework.NewClaim("unused"))
	env.CreateClaim(t, ns, framework.WithParameters(framework.NewClaim("refused"),
		`{"apiVersion":"`+spaceapi.APIVersion+`","kind":"SpaceClaimConfig","clusterRoles":["cluster-admin"]}`))
	framework.Allocate(t, env, ns, "refused")
	framework.Await(t, framework.Claim(env.Client, ns, "refused"), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, "cluster-admin"))
	admin, person := env.Administrator(), user(t, ns)
	for claim, words := range map[string]string{"has": "it is ready", "unused": "No pod uses", "refused": "cluster-admin"} {
		if out, _ := admin.Space(t, "why", claim, "-n", ns); !strings.Contains(out, words) || strings.Count(out, "\n") != 1 {
			t.Errorf("why %s: %q, want it to say %q in a paragraph", claim, out, words)
		}
	}
	if out, note := person.Space(t, "why", "unused", "-n", ns); !strings.Contains(out, "you may not list pods") || !strings.Contains(note, "list resourceslices") {
		t.Errorf("why, for a user: %s%s", out, note)
	}
	if _, stderr, err := admin.TrySpace(t.Context(), "why", "nothing", "-n", ns); err == nil || !strings.Contains(stderr, "neither a ResourceClaim nor a Pod nothing") {
		t.Errorf("why nothing: error %v: %s", err, stderr)
	}
}

func pluginGivesKubeconfig(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	admin := env.Administrator()
	text, stderr := admin.Space(t, "kubeconfig", "claim", "-n", ns, "--duration=15m", "-v=9")
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	token := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo].Token
	if !strings.Contains(stderr, "resourceclaims/claim") {
		t.Errorf("the requests are not logged, so that nothing is known of what is in the log:\n%s", stderr)
	}
	if token == "" || strings.Contains(stderr, token) || config.Contexts[config.CurrentContext].Namespace != spaces[0].Namespace {
		t.Errorf("the kubeconfig has no token, it is logged, or the namespace is not %s", spaces[0].Namespace)
	}
	client := env.WithToken(t, token)
	if _, err := client.CoreV1().ConfigMaps(spaces[0].Namespace).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("the token does not work in the space: %v", err)
	}
	if _, err := client.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the token works elsewhere: error %v", err)
	}
	if out, stderr, err := user(t, ns).TrySpace(t.Context(), "kubeconfig", "claim", "-n", ns); err == nil || out != "" || !strings.Contains(stderr, "serviceaccounts/token") {
		t.Errorf("without the right: error %v: %s", err, stderr)
	}
	if _, stderr, err := admin.TrySpace(t.Context(), "kubeconfig", "claim", "-n", ns, "--duration=1m"); err == nil || !strings.Contains(stderr, "less than the 10m0s") {
		t.Errorf("a minute: error %v: %s", err, stderr)
	}
}

func pluginEnvAndTop(t *testing.T) {
	ns := env.Namespace(t)
	pod := framework.NewPod("pod", "claim")
	env.StartPod(t, ns, pod)
	_, spaces := standing(t, env, ns, "claim")
	admin := env.Administrator()
	if out, _ := admin.Space(t, "env", "pod", "-n", ns); !strings.Contains(out, "CLAIM_NAMESPACE="+spaces[0].Namespace+"\n") || !strings.Contains(out, "/etc/claim") {
		t.Errorf("the pod sees\n%s", out)
	}
	framework.AwaitAny(t, env.Client.ResourceV1().RESTClient(), "resourceslices", "", framework.That("published", func(s *resourceapi.ResourceSlice) bool {
		return s.Spec.Driver == spaceapi.DefaultDriverName
	}))
	out, _ := admin.Space(t, "top")
	if got := lines(out); len(got) < 2 || got[0] != "POOL NODES RESOURCE USED FREE TOTAL" || !strings.HasPrefix(got[1], "spaces <any> spaces ") {
		t.Errorf("the pools are\n%s", out)
	}
	if _, stderr, err := user(t, ns).TrySpace(t.Context(), "top"); err == nil || !strings.Contains(stderr, "resourceslices") {
		t.Errorf("without the right: error %v: %s", err, stderr)
	}
}

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

	"k8s.io/client-go/tools/clientcmd"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The test of this name in test/e2e has pods and people with fewer rights.
func TestKubectlSpace(t *testing.T) {
	startController(t, env)
	t.Run("list prints all formats", pluginLists)
	t.Run("list watches", pluginWatches)
	t.Run("names of claims are completed", pluginCompletes)
	t.Run("kubeconfig logs no token", pluginLogsNoToken)
}

// lines are the lines of a table, each with single spaces between its columns.
func lines(table string) []string {
	var out []string
	for line := range strings.Lines(table) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return out
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

// pluginCompletes asks for completions as kubectl does.
func pluginCompletes(t *testing.T) {
	ns := env.Namespace(t)
	standing(t, env, ns, "claim-a")
	env.CreateClaim(t, ns, framework.NewClaim("other"))
	cmd := exec.CommandContext(t.Context(), framework.Binary("kubectl_complete-space"), "describe", "--namespace="+ns, "--kubeconfig="+env.Cluster.Kubeconfig(), "cl")
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "claim-a\n") || strings.Contains(string(out), "other") {
		t.Errorf("describe cl is completed to %q, error %v", out, err)
	}
}

func pluginLogsNoToken(t *testing.T) {
	ns := env.Namespace(t)
	standing(t, env, ns, "claim")
	admin := env.Administrator()
	text, log := admin.Space(t, "kubeconfig", "claim", "-n", ns, "--duration=15m", "-v=9")
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	token := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo].Token
	if token == "" || !strings.Contains(log, "resourceclaims/claim") {
		t.Fatalf("there is no token, or the requests are not logged:\n%s", log)
	}
	if strings.Contains(log, token) {
		t.Error("the token is logged")
	}
	if _, stderr, err := admin.TrySpace(t.Context(), "kubeconfig", "claim", "-n", ns, "--duration=1m"); err == nil || !strings.Contains(stderr, "10m") {
		t.Errorf("a duration below the minimum: error %v: %s", err, stderr)
	}
}

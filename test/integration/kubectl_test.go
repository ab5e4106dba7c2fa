// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestKubectlSpace_listsWatchesAndCompletes has no pods. Tests with pods, and with users who have
// fewer permissions, are in test/e2e.
func TestKubectlSpace_listsWatchesAndCompletes(t *testing.T) {
	startController(t, env)
	t.Run("list prints objects for programs", testList)
	t.Run("list watches", testWatch)
	t.Run("describe escapes events, and shows none about another claim", testDescribe)
	t.Run("names of claims are completed", testCompletion)
	t.Run("kubeconfig logs no token", testNoTokenInLog)
}

func testList(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := readyClaim(t, env, ns, "claim")
	if out, _ := env.Admin().KubectlSpace(t, "list", "-n", ns, "-o", "jsonpath={.items[*].apiVersion} {.items[*].kind} {.items[*].space}"); out != spaceapi.APIVersion+" Space "+spaces[0].Namespace {
		t.Errorf("the list is %q", out)
	}
	out, errOut, err := env.Admin().TryKubectlSpace(t.Context(), "list", "nope", "claim", "-n", ns, "-o", "name")
	if err == nil || out != "resourceclaim.resource.k8s.io/claim\n" || !strings.Contains(errOut, `"nope" not found`) {
		t.Errorf("two claims, one of which does not exist: error %v, %q and %q", err, out, errOut)
	}
}

// testDescribe describes a claim about which a tenant wrote an event, after one about an earlier claim of its name.
func testDescribe(t *testing.T) {
	ns := env.Namespace(t)
	claim, _ := readyClaim(t, env, ns, "claim")
	for name, uid := range map[string]types.UID{"mine": claim.UID, "earlier": "earlier"} {
		event := &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: ns, Name: name},
			InvolvedObject: corev1.ObjectReference{APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaim", Namespace: ns, Name: "claim", UID: uid},
			Type:           corev1.EventTypeNormal, Reason: "Written", Source: corev1.EventSource{Component: "tenant"},
			Message: name + "\n  State:  Expired \x1b[2J", FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
		}
		if _, err := env.Client.CoreV1().Events(ns).Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := env.Admin().KubectlSpace(t, "describe", "claim", "-n", ns)
	if !strings.Contains(out, `mine\n  State:  Expired \x1b[2J`) || strings.Contains(out, "earlier") || strings.Contains(out, "\x1b") {
		t.Errorf("it is described as %q", out)
	}
}

func testWatch(t *testing.T) {
	ns := env.Namespace(t)
	readyClaim(t, env, ns, "first")
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
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
	output := bufio.NewScanner(stdout)
	var lines []string
	awaitLine := func(words ...string) {
		t.Helper()
		for output.Scan() {
			lines = append(lines, output.Text())
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(output.Text(), word) }) {
				return
			}
		}
		t.Fatalf("no line contains %q, but the output is:\n%s", words, strings.Join(lines, "\n"))
	}
	awaitLine("first ", "Ready")
	readyClaim(t, env, ns, "second")
	awaitLine("second ", "Ready")
	framework.Deallocate(t, env, ns, "first")
	awaitLine("first ", "Unused")
}

// testCompletion requests completions as kubectl does.
func testCompletion(t *testing.T) {
	ns := env.Namespace(t)
	readyClaim(t, env, ns, "claim-a")
	env.CreateClaim(t, ns, framework.NewClaim("other"))
	cmd := exec.CommandContext(t.Context(), framework.Binary("kubectl_complete-space"), "describe", "--namespace="+ns, "--kubeconfig="+env.Cluster.Kubeconfig(), "cl")
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "claim-a\n") || strings.Contains(string(out), "other") {
		t.Errorf("the completions of \"describe cl\" are %q (error: %v)", out, err)
	}
}

func testNoTokenInLog(t *testing.T) {
	ns := env.Namespace(t)
	readyClaim(t, env, ns, "claim")
	admin := env.Admin()
	text, log := admin.KubectlSpace(t, "kubeconfig", "claim", "-n", ns, "--duration=15m", "-v=9")
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	token := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo].Token
	if token == "" || !strings.Contains(log, "resourceclaims/claim") {
		t.Fatalf("the kubeconfig has no token, or the log no requests:\n%s", log)
	}
	if strings.Contains(log, token) {
		t.Error("the token is in the log")
	}
	if _, stderr, err := admin.TryKubectlSpace(t.Context(), "kubeconfig", "claim", "-n", ns, "--duration=1m"); err == nil || !strings.Contains(stderr, "10m") {
		t.Errorf("a duration below the minimum: error %v: %s", err, stderr)
	}
}

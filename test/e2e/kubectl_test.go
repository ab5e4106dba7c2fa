// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestKubectlSpace(t *testing.T) {
	t.Parallel()
	framework.BuildKubectlSpace(t)
	const driver = "plugin.space.example.com"
	env.InstallAnother(t, "plugin", "driverName="+driver, "controller.replicas=1",
		"deviceClasses[0].name=plugin-few", "deviceClasses[0].pool=few", "pools[0].name=few", "pools[0].limit=1")
	ns, admin := env.Namespace(t), env.Administrator()
	says := func(words []string, args ...string) {
		t.Helper()
		out, _ := admin.Space(t, append(args, "--driver", driver, "-n", ns)...)
		text := strings.Join(strings.Fields(out), " ")
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("kubectl space %s does not say %q, but\n%s", strings.Join(args, " "), word, out)
			}
		}
	}
	createClaimOf(t, ns, "first", "plugin-few", nil)
	createClaimOf(t, ns, "next", "plugin-few", nil)
	pod := env.CreatePod(t, ns, framework.NewPod("first", "first"))
	s := poolSpace(t, ns, "first", "first")
	waits(t, ns, "next", "next")

	described := env.Kubectl(t, "describe", "namespace", s.Namespace)
	for _, line := range []string{driver + "/claim-namespace: " + ns, driver + "/claim-name: first", driver + "/pods: first"} {
		if !strings.Contains(described, line+"\n") {
			t.Errorf("kubectl describe namespace does not say %q, but\n%s", line, described)
		}
	}

	says([]string{"first " + s.Namespace + " Ready first " + pod.Spec.NodeName + " few", "next <none> Pending next"}, "list")
	says([]string{"There is no room for ResourceClaim next", "of pool few 1 of 1 spaces are in use"}, "why", "pod/next")
	says([]string{"few <any> spaces 1 0 1"}, "top")
	says([]string{pod.Spec.NodeName + " few 1"}, "top", "--nodes")

	vars := env.Variables(t, ns, "first")
	says([]string{"FIRST_NAMESPACE=" + vars["FIRST_NAMESPACE"], "FIRST_KUBECONFIG=" + vars["FIRST_KUBECONFIG"], "FIRST_CLUSTER=" + vars["FIRST_CLUSTER"]}, "env", "first")

	config, _ := admin.Space(t, "kubeconfig", "first", "--driver", driver, "-n", ns)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "--kubeconfig", file, "create", "configmap", "made-by-a-person")
	env.Exec(t, ns, "first", "kubectl", "--kubeconfig", s.Kubeconfig, "get", "configmap", "made-by-a-person")
	if out, err := env.TryKubectl(t.Context(), "--kubeconfig", file, "get", "configmaps", "-n", ns); err == nil || !strings.Contains(out, "forbidden") {
		t.Errorf("the kubeconfig works in namespace %s: error %v: %s", ns, err, out)
	}

	// Of the other installation, whose class is the default one.
	claim := framework.WithParameters(framework.NewClaim("refused"), `{"apiVersion":"`+spaceapi.APIVersion+`","kind":"SpaceClaimConfig","clusterRole":"cluster-admin"}`)
	env.CreateClaim(t, ns, claim)
	env.StartPod(t, ns, framework.NewPod("refused", "refused"))
	framework.Await(t, framework.Claim(env.Client, ns, "refused"), framework.NotReadyBecause(spaceapi.ReasonRefused, "cluster-admin"))
	if out, _ := admin.Space(t, "why", "refused", "-n", ns); !strings.Contains(out, "does not give") || !strings.Contains(out, "cluster-admin") {
		t.Errorf("why refused says %s", out)
	}
	env.DeletePod(t, ns, "refused")
	env.DeletePod(t, ns, "next")
	env.DeletePod(t, ns, "first")
	env.AwaitNamespaceGone(t, s.Namespace)
}

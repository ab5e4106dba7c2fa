// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// space is what a container sees of one space.
type space struct {
	namespace, kubeconfig string
}

// spaceOf reads the variables with the prefix in a pod's container, and checks
// that they are complete.
func spaceOf(t *testing.T, namespace, pod, prefix string) space {
	t.Helper()
	vars := env.Variables(t, namespace, pod)
	if got, want := vars["DRA_RESOURCE_DRIVER_NAME"], "space.resource.example.com"; got != want {
		t.Errorf("DRA_RESOURCE_DRIVER_NAME is %q, want %q", got, want)
	}
	if got, want := vars[prefix+"_CLUSTER"], "https://10.96.0.1:443"; got != want {
		t.Errorf("%s_CLUSTER is %q, want %q", prefix, got, want)
	}
	s := space{namespace: vars[prefix+"_NAMESPACE"], kubeconfig: vars[prefix+"_KUBECONFIG"]}
	if !strings.HasPrefix(s.namespace, "ephemeral-ns-") {
		t.Fatalf("%s_NAMESPACE is %q in %s, want ephemeral-ns-…; all: %v", prefix, s.namespace, pod, vars)
	}
	if got := env.Exec(t, namespace, pod, "cat", path.Join(path.Dir(s.kubeconfig), "namespace")); got != s.namespace {
		t.Errorf("the file namespace says %q, the variable %q", got, s.namespace)
	}
	return s
}

// kubectl runs kubectl in a pod, with the kubeconfig of a space.
func (s space) kubectl(t *testing.T, namespace, pod string, args ...string) string {
	t.Helper()
	return env.Exec(t, namespace, pod, append([]string{"kubectl", "--kubeconfig", s.kubeconfig}, args...)...)
}

// forbidden runs kubectl in a pod, and fails the test unless that is refused.
func (s space) forbidden(t *testing.T, namespace, pod string, args ...string) {
	t.Helper()
	out, err := env.TryExec(t.Context(), namespace, pod, append([]string{"kubectl", "--kubeconfig", s.kubeconfig}, args...)...)
	if err == nil || !strings.Contains(out, "Forbidden") {
		t.Errorf("kubectl %s in %s should be forbidden, but: error %v, output %s", strings.Join(args, " "), pod, err, out)
	}
}

// usable fails the test unless a pod can work in the space, and only there.
func (s space) usable(t *testing.T, namespace, pod string) {
	t.Helper()
	s.kubectl(t, namespace, pod, "create", "configmap", "from-"+strings.ReplaceAll(pod, "/", "-"))
	s.forbidden(t, namespace, pod, "get", "secrets", "-n", "default")
	s.forbidden(t, namespace, pod, "create", "namespace", "mine")
}

func awaitNamespaceGone(t *testing.T, name string) {
	t.Helper()
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, name))
}

func node(i int) string { return env.Cluster.Nodes()[i].Name() }

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientauthenticationv1 "k8s.io/client-go/pkg/apis/clientauthentication/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// credentialUser returns a user with permissions in one namespace only: those that the page about kubectl space
// names for kubeconfig --exec.
func credentialUser(t *testing.T, ns string) (user, *rbacv1.Role) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "developer"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}},
		{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"create"}},
	}}
	role, err := env.Client.RbacV1().Roles(ns).Create(t.Context(), role, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "create", "serviceaccount", "developer", "-n", ns)
	env.Kubectl(t, "create", "rolebinding", "developer", "-n", ns, "--role=developer", "--serviceaccount="+ns+":developer")
	pods := get(framework.CorePath(ns, "pods"))
	framework.AwaitAllowed(t, pods.String(), pods.By(env.As(t, ns, "developer")))
	return user{env.UserWith(t, ns, "developer"), spaceapi.DefaultDriverName, ns}, role
}

// spaceConfig is a kubeconfig for a space.
type spaceConfig struct{ file, context string }

// kubectl runs kubectl in the space.
func (c spaceConfig) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, env.Cluster.Binary("kubectl"), append([]string{"--kubeconfig=" + c.file, "--context=" + c.context}, args...)...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// awaitOutput waits until kubectl prints words, and fails or does not.
func (c spaceConfig) awaitOutput(t *testing.T, fails bool, words string, args ...string) {
	t.Helper()
	framework.Eventually(t, "kubectl "+strings.Join(args, " "), func(ctx context.Context) error {
		if out, err := c.kubectl(ctx, args...); (err != nil) != fails || !strings.Contains(out, words) {
			return fmt.Errorf("error %v, want one: %t; want %q, but got\n%s", err, fails, words, out) //nolint:errorlint // it may be nil
		}
		return nil
	})
}

var whoami = []string{"auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"}

func TestCredential_needsPermissionsInOneNamespace(t *testing.T) {
	t.Parallel()
	buildKubectlSpace(t)
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("claim"), framework.NewPod("pod", "claim"))
	dev, role := credentialUser(t, ns)
	account := "system:serviceaccount:" + s.Namespace + ":space"

	printed, _ := dev.KubectlSpace(t, dev.args("kubeconfig", "claim", "--exec")...)
	checkNoToken(t, "the kubeconfig", printed)
	config := spaceConfig{filepath.Join(t.TempDir(), "space.kubeconfig"), s.Namespace}
	if err := os.WriteFile(config.file, []byte(printed), 0o600); err != nil {
		t.Fatal(err)
	}
	config.awaitOutput(t, false, account, whoami...)
	config.awaitOutput(t, false, "configmap/mine created", "create", "configmap", "mine")
	config.awaitOutput(t, true, "Forbidden", "get", "configmaps", "-n", ns)

	out, _ := dev.KubectlSpace(t, dev.args("kubeconfig", "claim", "--merge")...)
	merged := spaceConfig{dev.Kubeconfig, "space:" + ns + "/claim"}
	if want := fmt.Sprintf("Context %q created.\n", merged.context); out != want {
		t.Errorf("kubectl space kubeconfig --merge prints %q, want %q", out, want)
	}
	merged.awaitOutput(t, false, account, whoami...)
	if out, errOut, err := dev.TryKubectlSpace(t.Context(), dev.args("kubeconfig", "claim", "--exec", "--context", merged.context)...); err == nil || !strings.Contains(errOut, "is that of a space") {
		t.Errorf("a kubeconfig that uses that of a space: error %v: %s%s", err, out, errOut)
	}

	old := dev.token(t, "claim")
	env.Kubectl(t, "delete", "serviceaccount", "space", "-n", s.Namespace)
	maps := get(framework.CorePath(s.Namespace, "configmaps"))
	framework.AwaitDenied(t, "using the token of a ServiceAccount that was replaced", maps.By(env.WithToken(t, old)))
	config.awaitOutput(t, false, "configmap/mine", "get", "configmap", "mine", "-o", "name")
	renewed := dev.token(t, "claim")

	rules := role.Rules
	role.Rules = rules[:2]
	updateRole(t, role)
	config.awaitOutput(t, true, `cannot create resource "pods/exec"`, "get", "configmaps")
	role.Rules = rules
	updateRole(t, role)
	config.awaitOutput(t, false, "configmap/mine", "get", "configmap", "mine", "-o", "name")

	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
	config.awaitOutput(t, true, "ResourceClaim claim has no space", "get", "configmaps")
	framework.AwaitDenied(t, "using the token of a space that no longer exists", maps.By(env.WithToken(t, renewed)))
}

// updateRole replaces any version of a Role.
func updateRole(t *testing.T, role *rbacv1.Role) {
	t.Helper()
	role.ResourceVersion = ""
	if _, err := env.Client.RbacV1().Roles(role.Namespace).Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// token returns the token that credential prints.
func (u user) token(t *testing.T, claim string) string {
	t.Helper()
	var credential clientauthenticationv1.ExecCredential
	out, log := u.KubectlSpace(t, u.args("credential", "--claim", claim, "-v=9")...)
	checkNoToken(t, "the log of kubectl space credential", log)
	if err := json.Unmarshal([]byte(out), &credential); err != nil || credential.Status == nil || !credential.Status.ExpirationTimestamp.After(metav1.Now().Time) {
		t.Fatalf("kubectl space credential prints no credential that is valid: %v", err)
	}
	return credential.Status.Token
}

// The author of a pod chooses what its cat prints.
func TestCredential_doesNotTrustPods(t *testing.T) {
	t.Parallel()
	buildKubectlSpace(t)
	ns := env.Namespace(t)
	withPath := func(path, script string, pod *corev1.Pod) *corev1.Pod {
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PATH", Value: path}}
		pod.Spec.Containers[0].Command = []string{"/bin/sh", "-c", script}
		return pod
	}
	fake := func(prints string) string {
		return "PATH=/bin:/usr/bin; mkdir /tmp/bin; printf '#!/bin/sh\\n" + prints + "' >/tmp/bin/cat; chmod +x /tmp/bin/cat; touch /tmp/ready; sleep infinity"
	}
	const bin = "/tmp/bin:/bin:/usr/bin"
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	for _, pod := range []*corev1.Pod{
		withPath("/none", "PATH=/bin:/usr/bin; exec sleep infinity", framework.NewPod("a-none", "claim")),
		withPath(bin, fake("head -c 1000000 /dev/zero"), framework.NewPod("b-long", "claim")),
		withPath(bin, fake(`echo eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb290In0.secret`), framework.NewPod("c-forged", "claim")),
	} {
		env.CreatePod(t, ns, pod)
	}
	dev, _ := credentialUser(t, ns)
	framework.Eventually(t, "kubectl space credential to report each pod", func(ctx context.Context) error {
		out, errOut, err := dev.TryKubectlSpace(ctx, dev.args("credential", "--claim", "claim")...)
		for _, words := range []string{
			"container ctr of pod a-none: its image has no cat", "container ctr of pod b-long: it prints more than a token", "container ctr of pod c-forged: its token is not of ServiceAccount",
		} {
			if err == nil || out != "" || !strings.Contains(errOut, words) || strings.Count(errOut, "\n") != 1 {
				return fmt.Errorf("got error %v, and not %q in one line, but\n%s%s", err, words, out, errOut) //nolint:errorlint // it may be nil
			}
		}
		if strings.Contains(errOut, "secret") {
			return errors.New("the error has a part of the token")
		}
		return nil
	})
	env.CreatePod(t, ns, framework.NewPod("d-user", "claim"))
	dev.token(t, "claim")
}

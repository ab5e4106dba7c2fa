// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Space is a space as a container sees it.
type Space struct {
	Env       *Env
	Namespace string
	// Kubeconfig is the path in the container.
	Kubeconfig string
	// Claim is the UID of the claim.
	Claim types.UID
}

// SpaceOf reads the environment variables of a claim in a pod's container. Their prefix is the claim's
// name, or another one.
func (e *Env) SpaceOf(t testing.TB, namespace, pod, claim string) Space {
	t.Helper()
	prefix := strings.ToUpper(strings.ReplaceAll(claim, "-", "_"))
	vars := e.Variables(t, namespace, pod)
	s := Space{Env: e, Namespace: vars[prefix+"_NAMESPACE"], Kubeconfig: vars[prefix+"_KUBECONFIG"]}
	s.Claim = types.UID(uid.FindString(s.Kubeconfig))
	if !strings.HasPrefix(s.Namespace, "ephemeral-ns-") || s.Claim == "" {
		t.Fatalf("%s has no space %s: its variables are %v", pod, prefix, vars)
	}
	return s
}

// Use creates a claim with one request, and a pod that uses it. It returns the space.
func (e *Env) Use(t testing.TB, namespace string, claim *resourceapi.ResourceClaim, pod *corev1.Pod) Space {
	t.Helper()
	e.CreateClaim(t, namespace, claim)
	e.CreatePod(t, namespace, pod)
	return e.SpaceOf(t, namespace, pod.Name, claim.Name)
}

// Kubectl runs kubectl in a pod, with the kubeconfig of a space.
func (s Space) Kubectl(t testing.TB, namespace, pod string, args ...string) string {
	t.Helper()
	return s.Env.Exec(t, namespace, pod, s.command(args)...)
}

func (s Space) command(args []string) []string {
	return append([]string{"kubectl", "--kubeconfig", s.Kubeconfig}, args...)
}

// CheckForbidden runs kubectl in a pod with the kubeconfig of the space, and fails the test unless the API
// server denies it.
func (s Space) CheckForbidden(t testing.TB, namespace, pod string, args ...string) {
	t.Helper()
	out, err := s.Env.TryExec(t.Context(), namespace, pod, s.command(args)...)
	if err == nil || !strings.Contains(out, "Forbidden") {
		t.Errorf("kubectl %s in %s: got error %v, want Forbidden; output: %s", strings.Join(args, " "), pod, err, out)
	}
}

// CheckUsable fails the test unless a pod has permissions in the space, and only there.
func (s Space) CheckUsable(t testing.TB, namespace, pod string) {
	t.Helper()
	s.Kubectl(t, namespace, pod, "create", "configmap", "from-"+strings.ReplaceAll(pod, "/", "-"))
	s.CheckForbidden(t, namespace, pod, "get", "secrets", "-n", "default")
	s.CheckForbidden(t, namespace, pod, "create", "namespace", "mine")
}

// AwaitNamespaceDeleted waits until the namespace does not exist.
func (e *Env) AwaitNamespaceDeleted(t testing.TB, name string) {
	t.Helper()
	AwaitDeleted[*corev1.Namespace](t, Namespace(e.Client, name))
}

// ClaimOf waits until the claim from a pod's template has a space, and returns the claim.
func (e *Env) ClaimOf(t testing.TB, namespace, pod string) *resourceapi.ResourceClaim {
	t.Helper()
	return Await(t, Claim(e.Client, namespace, e.GeneratedClaim(t, namespace, pod)), SpacesReady(1))
}

// GeneratedClaim waits until the only claim of a pod is created from its template, and returns its
// name.
func (e *Env) GeneratedClaim(t testing.TB, namespace, pod string) string {
	t.Helper()
	p := Await(t, Pod(e.Client, namespace, pod), That("assigned a claim", func(p *corev1.Pod) bool {
		return len(p.Status.ResourceClaimStatuses) == 1 && p.Status.ResourceClaimStatuses[0].ResourceClaimName != nil
	}))
	return *p.Status.ResourceClaimStatuses[0].ResourceClaimName
}

// SpacesOf returns the namespaces of a claim.
func (e *Env) SpacesOf(t testing.TB, claim types.UID) []corev1.Namespace {
	t.Helper()
	list, err := e.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: ClaimUIDLabel + "=" + string(claim)})
	if err != nil {
		t.Fatalf("list the namespaces of claim %s: %v", claim, err)
	}
	return list.Items
}

// AwaitNoSpaceOf waits until the claim has no namespace.
func (e *Env) AwaitNoSpaceOf(t testing.TB, claim types.UID) {
	t.Helper()
	for _, ns := range e.SpacesOf(t, claim) {
		e.AwaitNamespaceDeleted(t, ns.Name)
	}
	e.CheckNoSpaceOf(t, claim)
}

// CheckNoSpaceOf fails the test if the claim has a namespace.
func (e *Env) CheckNoSpaceOf(t testing.TB, claim types.UID) {
	t.Helper()
	for _, ns := range e.SpacesOf(t, claim) {
		t.Errorf("claim %s has namespace %s, want none", claim, ns.Name)
	}
}

// CheckNoFilesOf fails the test if a node has files or directories of the claim.
func (e *Env) CheckNoFilesOf(t testing.TB, claim types.UID) {
	t.Helper()
	if found := e.FilesOf(t, claim); len(found) != 0 {
		t.Errorf("the nodes have files of claim %s: %v", claim, found)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestLifecycle_reachesEachState(t *testing.T) {
	metrics, health := framework.FreeAddress(t), framework.FreeAddress(t)
	framework.StartController(t, env, "--stuck-terminating-after=2s", "--cluster-role=admin",
		"--metrics-bind-address="+metrics, "--health-probe-bind-address="+health)
	t.Run("a namespace stuck in Terminating", func(t *testing.T) { testStuckTerminating(t, metrics, health) })
	t.Run("a ready space takes pods", testReady)
	t.Run("maxLifetime", func(t *testing.T) {
		framework.WithLongerLifetimes(t, 12*time.Second, func(lifetime time.Duration) bool { return testMaxLifetime(t, lifetime) })
	})
	t.Run("retention", testRetention)
	t.Run("RoleBindings with finalizers", testBindingFinalizers)
}

// readyClaimWith creates a claim with a ready space, whose class has these fields.
func readyClaimWith(t *testing.T, ns, fields string) spaceapi.SpaceStatus {
	t.Helper()
	provision(t, spaceapi.DefaultDriverName, ns, "claim", framework.WithClassConfig(fields))
	_, spaces := spacesOf(t, env, ns, "claim", 1)
	return spaces[0]
}

func testReady(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := readyClaim(t, env, ns, "claim", "a", "b", "c")
	for _, space := range spaces {
		if _, err := env.Client.CoreV1().ServiceAccounts(space.Namespace).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			t.Errorf("the API server would reject pods: %v", err)
		}
		config, err := env.Client.CoreV1().ConfigMaps(space.Namespace).Get(t.Context(), spaceapi.RootCAName, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("the kubelet could not start pods: %v", err)
		}
		if config.Data["ca.crt"] != string(env.Cluster.CA()) {
			t.Errorf("%s is %q", config.Name, config.Data)
		}
		// The controller sets Ready only when the API server allows this.
		if err := reads(env.As(t, space.Namespace, spaceapi.ServiceAccountName), space.Namespace)(t.Context()); err != nil {
			t.Errorf("the first request with a token: %v", err)
		}
	}
	deallocate(t, env, ns, "claim")
}

func testMaxLifetime(t *testing.T, lifetime time.Duration) (inTime bool) {
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocate(t, env, ns, "claim", framework.WithClassConfig(fmt.Sprintf(`"maxLifetime":%q`, lifetime)))
	expired := framework.NotReadyBecause(spaceapi.ReasonExpired, lifetime.String())
	claim := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1).Or(expired))
	if expired.Holds(claim) {
		deallocate(t, env, ns, "claim")
		return false
	}
	space := framework.SpaceStatus(t, claim, 0)
	token, err := env.TryToken(t.Context(), space.Namespace, spaceapi.ServiceAccountName)
	request := reads(env.WithToken(t, token), space.Namespace)
	inTime = err == nil && request(t.Context()) == nil
	claim = framework.Await(t, framework.Claim(env.Client, ns, "claim"), expired)
	if claim.Status.Allocation == nil {
		t.Error("the claim is no longer allocated")
	}
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonExpired, "")
	env.AwaitNamespaceDeleted(t, space.Namespace)
	awaitRevoked(t, request)

	// The controller does not recreate the namespace when it is deleted.
	checkNextSpace(t, ns, space.Namespace)
	return inTime
}

// checkNextSpace allocates the claim again, checks that it has a new namespace, and deallocates it.
func checkNextSpace(t *testing.T, ns, previous string) {
	t.Helper()
	deallocate(t, env, ns, "claim")
	allocate(t, env, ns, "claim")
	if next := readySpace(t, ns, "claim"); next == previous {
		t.Errorf("another allocation has namespace %s again", previous)
	}
	deallocate(t, env, ns, "claim")
}

// testRetention does not wait for the end of the period, as
// TestController_resumesAfterEachInterruptedWrite does.
func testRetention(t *testing.T) {
	ns := env.Namespace(t)
	space := readyClaimWith(t, ns, `"retention":{"period":"1h"}`).Namespace
	request := newRequest(t, space)
	deallocate(t, env, ns, "claim")
	framework.Await(t, framework.Namespace(env.Client, space), framework.That("retained", func(n *corev1.Namespace) bool {
		return n.DeletionTimestamp == nil && n.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).RetainedUntil] != ""
	}))
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonNamespaceRetained, space)
	awaitRevoked(t, request)
	framework.AwaitDeleted[*corev1.ServiceAccount](t, framework.ServiceAccount(env.Client, space, spaceapi.ServiceAccountName))
	archive := filepath.Join(t.TempDir(), "retained.tgz")
	env.Admin().KubectlSpace(t, "collect", "claim", "-n", ns, "-o", archive)
	if out, err := exec.CommandContext(t.Context(), "tar", "--list", "--file", archive).CombinedOutput(); err != nil || !strings.Contains(string(out), space+"/configmaps.yaml\n") {
		t.Errorf("the archive of a retained space has (error %v)\n%s", err, out)
	}
	checkNextSpace(t, ns, space)
	env.Kubectl(t, "delete", "namespace", space)
}

func testStuckTerminating(t *testing.T, metrics, health string) {
	ns := env.Namespace(t)
	_, spaces := readyClaim(t, env, ns, "claim")
	space := spaces[0].Namespace
	release := blockDeletion(t, env, space)
	deallocate(t, env, ns, "claim")
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, testFinalizer)
	awaitEvent(t, metav1.NamespaceDefault, "Namespace", space, spaceapi.ReasonStuckTerminating, testFinalizer)
	text := framework.PlainHTTP(metrics).Await(t, "/metrics", http.StatusOK, "space_dra_namespaces_stuck_terminating 1", `space_dra_spaces{pool="spaces",state="terminating"} 1`)
	for _, labels := range []string{`duration_seconds_count{result="success"}`, `step_duration_seconds_count{step="namespace"}`,
		`step_duration_seconds_count{step="objects"}`, `step_duration_seconds_count{step="rbac"}`, `step_duration_seconds_count{step="status"}`} {
		if _, value, found := strings.Cut(text, "\nspace_dra_provisioning_"+labels+" "); !found || value[0] == '0' {
			t.Errorf("metric space_dra_provisioning_%s is 0 or missing", labels)
		}
	}
	framework.PlainHTTP(health).Await(t, "/readyz", http.StatusOK)
	config, err := env.Client.CoreV1().ConfigMaps(space).Get(t.Context(), blocker, metav1.GetOptions{})
	if err != nil || len(config.Finalizers) != 1 {
		t.Errorf("the finalizers of another component are %v (error: %v)", config.Finalizers, err)
	}
	release()
	env.AwaitNamespaceDeleted(t, space)
}

// testBindingFinalizers has finalizers on RoleBinding space, and on one that the tenant created.
func testBindingFinalizers(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := readyClaim(t, env, ns, "claim")
	space := spaces[0].Namespace
	tenant := env.As(t, space, spaceapi.ServiceAccountName)
	finalizers := func(name string, finalizers ...string) {
		t.Helper()
		framework.SetFinalizers(t, env.Client.RbacV1().RESTClient(), "rolebindings", space, name, finalizers...)
	}
	given := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "friend"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: space, Name: "default"}},
	}
	if _, err := tenant.RbacV1().RoleBindings(space).Create(t.Context(), given, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	requests := map[string]framework.Request{
		spaceapi.RoleBindingName: reads(tenant, space),
		"friend":                 reads(env.As(t, space, "default"), space),
	}
	for binding, request := range requests {
		framework.AwaitAllowed(t, "a request with RoleBinding "+binding, request)
		finalizers(binding, testFinalizer)
	}
	deallocate(t, env, ns, "claim")
	for binding, request := range requests {
		held := framework.Await(t, framework.RoleBinding(env.Client, space, binding), framework.That("without subjects", func(b *rbacv1.RoleBinding) bool {
			return len(b.Subjects) == 0
		}))
		if strings.Join(held.Finalizers, "") != testFinalizer {
			t.Errorf("the finalizers of RoleBinding %s are %q", binding, held.Finalizers)
		}
		framework.AwaitDenied(t, "a request with RoleBinding "+binding, request)
	}
	for binding := range requests {
		finalizers(binding)
	}
	env.AwaitNamespaceDeleted(t, space)
}

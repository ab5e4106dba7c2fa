// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestLifecycle_reachesEachState(t *testing.T) {
	metrics, health := framework.FreeAddress(t), framework.FreeAddress(t)
	framework.StartController(t, env, "--stuck-terminating-after=2s", "--cluster-role=admin",
		"--metrics-bind-address="+metrics, "--health-probe-bind-address="+health)
	t.Run("a namespace stuck in Terminating", func(t *testing.T) { stuckNamespace(t, metrics, health) })
	t.Run("a ready space takes pods", readyIsUsable)
	t.Run("maxLifetime", func(t *testing.T) {
		framework.InTime(t, 15*time.Second, func(lifetime time.Duration) bool { return expires(t, lifetime) })
	})
	t.Run("retention", retention)
	t.Run("RoleBindings with finalizers", heldBindings)
}

// standingWith creates a claim with a space whose class has these fields.
func standingWith(t *testing.T, ns, fields string) spaceapi.SpaceStatus {
	t.Helper()
	provision(t, spaceapi.DefaultDriverName, ns, "claim", framework.WithClassConfig(fields))
	_, spaces := spacesOf(t, env, ns, "claim", 1)
	return spaces[0]
}

func readyIsUsable(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim", "a", "b", "c")
	for _, space := range spaces {
		if _, err := env.Client.CoreV1().ServiceAccounts(space.Namespace).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			t.Errorf("a pod would be refused: %v", err)
		}
		config, err := env.Client.CoreV1().ConfigMaps(space.Namespace).Get(t.Context(), spaceapi.RootCAName, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("a pod would wait: %v", err)
		}
		if config.Data["ca.crt"] != string(env.Cluster.CA()) {
			t.Errorf("%s is %q", config.Name, config.Data)
		}
		// The controller reports Ready only when the API server has confirmed these rights.
		if err := reads(env.As(t, space.Namespace, spaceapi.ServiceAccountName), space.Namespace)(t.Context()); err != nil {
			t.Errorf("the first request with a token: %v", err)
		}
	}
	deallocate(t, env, ns, "claim")
}

func expires(t *testing.T, lifetime time.Duration) (inTime bool) {
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocate(t, env, ns, "claim", framework.WithClassConfig(fmt.Sprintf(`"maxLifetime":%q`, lifetime)))
	expired := framework.NotReadyBecause(spaceapi.ReasonExpired, lifetime.String())
	claim := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("ready, or "+expired.String(), func(c *resourceapi.ResourceClaim) bool {
		return framework.SpacesReadyNow(c) || expired.Holds(c)
	}))
	if !framework.SpacesReadyNow(claim) {
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
	env.AwaitNamespaceGone(t, space.Namespace)
	awaitRevoked(t, request)

	// The deletion of the namespace is an event for the controller, which creates no other.
	hasAnotherSpace(t, ns, space.Namespace)
	return inTime
}

// hasAnotherSpace allocates the claim again, and deallocates it.
func hasAnotherSpace(t *testing.T, ns, former string) {
	t.Helper()
	deallocate(t, env, ns, "claim")
	allocate(t, env, ns, "claim")
	if next := readySpace(t, ns, "claim"); next == former {
		t.Errorf("another allocation has namespace %s again", former)
	}
	deallocate(t, env, ns, "claim")
}

// retention does not wait for the end of the period. TestController_resumesAfterEachInterruptedWrite
// does, with restarts of the controller in between.
func retention(t *testing.T) {
	ns := env.Namespace(t)
	space := standingWith(t, ns, `"retention":{"period":"1h"}`).Namespace
	request := readsIn(t, space)
	deallocate(t, env, ns, "claim")
	framework.Await(t, framework.Namespace(env.Client, space), framework.That("retained", func(n *corev1.Namespace) bool {
		return n.DeletionTimestamp == nil && n.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).RetainedUntil] != ""
	}))
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonNamespaceRetained, space)
	awaitRevoked(t, request)
	framework.AwaitGone[*corev1.ServiceAccount](t, framework.ServiceAccount(env.Client, space, spaceapi.ServiceAccountName))
	hasAnotherSpace(t, ns, space)
	env.Kubectl(t, "delete", "namespace", space)
}

func stuckNamespace(t *testing.T, metrics, health string) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	space := spaces[0].Namespace
	release := hold(t, env, space)
	deallocate(t, env, ns, "claim")
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, holder)
	awaitEvent(t, metav1.NamespaceDefault, "Namespace", space, spaceapi.ReasonStuckTerminating, holder)
	text := framework.Plainly(metrics).Await(t, "/metrics", http.StatusOK, "space_dra_namespaces_stuck_terminating 1", `space_dra_spaces{pool="spaces",state="terminating"} 1`)
	for _, labels := range []string{`duration_seconds_count{result="success"}`, `step_duration_seconds_count{step="namespace"}`,
		`step_duration_seconds_count{step="objects"}`, `step_duration_seconds_count{step="rbac"}`, `step_duration_seconds_count{step="status"}`} {
		if _, value, found := strings.Cut(text, "\nspace_dra_provisioning_"+labels+" "); !found || value[0] == '0' {
			t.Errorf("space_dra_provisioning_%s has counted nothing", labels)
		}
	}
	framework.Plainly(health).Await(t, "/readyz", http.StatusOK)
	held, err := env.Client.CoreV1().ConfigMaps(space).Get(t.Context(), blocker, metav1.GetOptions{})
	if err != nil || len(held.Finalizers) != 1 {
		t.Errorf("the finalizer of another owner: %v, %v", held.Finalizers, err)
	}
	release()
	env.AwaitNamespaceGone(t, space)
}

// heldBindings has finalizers on the RoleBinding of the space, and on one that the tenant
// created.
func heldBindings(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
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
		finalizers(binding, holder)
	}
	deallocate(t, env, ns, "claim")
	for binding, request := range requests {
		held := framework.Await(t, framework.RoleBinding(env.Client, space, binding), framework.That("without subjects", func(b *rbacv1.RoleBinding) bool {
			return len(b.Subjects) == 0
		}))
		if strings.Join(held.Finalizers, "") != holder {
			t.Errorf("the finalizers of RoleBinding %s are %q", binding, held.Finalizers)
		}
		framework.AwaitRefused(t, "a request with RoleBinding "+binding, request)
	}
	for binding := range requests {
		finalizers(binding)
	}
	env.AwaitNamespaceGone(t, space)
}

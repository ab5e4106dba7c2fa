// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// holder is a finalizer that no controller removes.
const holder = "example.com/holds"

func TestLifecycle(t *testing.T) {
	metrics, health := framework.FreeAddress(t), framework.FreeAddress(t)
	framework.StartController(t, env, "--namespace-deletion-timeout=2s", "--cluster-role=admin",
		"--metrics-bind-address="+metrics, "--health-probe-bind-address="+health)
	t.Run("a ready space takes pods", readyIsUsable)
	t.Run("maxLifetime", expiry)
	t.Run("retention", retention)
	t.Run("a namespace stuck in Terminating", func(t *testing.T) { stuckNamespace(t, metrics, health) })
	t.Run("RoleBindings with finalizers", heldBindings)
}

// standingWith creates a claim with a space whose class has these fields.
func standingWith(t *testing.T, ns, fields string) spaceapi.SpaceStatus {
	t.Helper()
	allocatedWith(t, ns, fields)
	_, spaces := framework.SpacesOf(t, env, ns, "claim", 1)
	return spaces[0]
}

// allocatedWith creates a claim that is allocated a space whose class has these fields.
func allocatedWith(t *testing.T, ns, fields string) {
	t.Helper()
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, spaceapi.DefaultDriverName, ns, "claim", classJSON(fields))
}

func readyIsUsable(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := framework.Standing(t, env, ns, "claim", "a", "b", "c")
	for _, space := range spaces {
		if _, err := env.Client.CoreV1().ServiceAccounts(space.Namespace).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			t.Errorf("a pod would be refused: %v", err)
		}
		ours, err := env.Client.CoreV1().ConfigMaps(space.Namespace).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			t.Fatalf("a pod would wait: %v", err)
		}
		theirs, err := env.Client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if ours.Data["ca.crt"] == "" || ours.Data["ca.crt"] != theirs.Data["ca.crt"] {
			t.Errorf("kube-root-ca.crt is %q", ours.Data)
		}
		// The controller reports Ready only when the API server has confirmed these rights.
		if err := lists(env.As(t, space.Namespace, spaceapi.ServiceAccountName), space.Namespace)(t.Context()); err != nil {
			t.Errorf("the first request with a token: %v", err)
		}
	}
	framework.Deallocate(t, env, ns, "claim")
}

func expiry(t *testing.T) {
	framework.InTime(t, 15*time.Second, func(lifetime time.Duration) bool { return expires(t, lifetime) })
}

func expires(t *testing.T, lifetime time.Duration) (inTime bool) {
	ns := env.Namespace(t)
	allocatedWith(t, ns, fmt.Sprintf(`"maxLifetime":%q`, lifetime))
	expired := framework.NotReadyBecause(spaceapi.ReasonExpired, lifetime.String())
	claim := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("ready, or "+expired.String(), func(c *resourceapi.ResourceClaim) bool {
		return framework.SpacesReadyNow(c) || expired.Holds(c)
	}))
	if !framework.SpacesReadyNow(claim) {
		framework.Deallocate(t, env, ns, "claim")
		return false
	}
	space := framework.SpaceStatus(t, claim, 0)
	token, err := env.TryToken(t.Context(), space.Namespace, spaceapi.ServiceAccountName)
	asks := lists(env.WithToken(t, token), space.Namespace)
	inTime = err == nil && asks(t.Context()) == nil
	claim = framework.Await(t, framework.Claim(env.Client, ns, "claim"), expired)
	if claim.Status.Allocation == nil {
		t.Error("the claim is no longer allocated")
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonExpired, ""))
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space.Namespace))
	framework.AwaitRefused(t, "a request with the token of an expired space", asks)

	// The deletion of the namespace is an event for the controller, which creates no other.
	framework.Deallocate(t, env, ns, "claim")
	framework.Allocate(t, env, ns, "claim")
	_, next := framework.SpacesOf(t, env, ns, "claim", 1)
	if next[0].Namespace == space.Namespace {
		t.Error("another allocation has the expired space's namespace")
	}
	framework.Deallocate(t, env, ns, "claim")
	return inTime
}

// retention does not wait for the end of the period. TestController_resumesAfterEachInterruptedWrite
// does, with restarts of the controller in between.
func retention(t *testing.T) {
	ns := env.Namespace(t)
	space := standingWith(t, ns, `"retention":{"period":"1h"}`)
	asks := lists(env.As(t, space.Namespace, spaceapi.ServiceAccountName), space.Namespace)
	if err := asks(t.Context()); err != nil {
		t.Errorf("a request before the deallocation: %v", err)
	}
	framework.Deallocate(t, env, ns, "claim")
	framework.Await(t, framework.Namespace(env.Client, space.Namespace), framework.That("retained", func(n *corev1.Namespace) bool {
		return n.DeletionTimestamp == nil && n.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).RetainedUntil] != ""
	}))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonNamespaceRetained, space.Namespace))
	framework.AwaitRefused(t, "a request with the token of a retained space", asks)
	framework.AwaitGone[*corev1.ServiceAccount](t, framework.ServiceAccount(env.Client, space.Namespace, spaceapi.ServiceAccountName))

	framework.Allocate(t, env, ns, "claim")
	_, next := framework.SpacesOf(t, env, ns, "claim", 1)
	if next[0].Namespace == space.Namespace {
		t.Error("another allocation has the retained namespace")
	}
	framework.Deallocate(t, env, ns, "claim")
	env.Kubectl(t, "delete", "namespace", space.Namespace)
}

// lists is a request that the token of a space allows.
func lists(client kubernetes.Interface, namespace string) framework.Request {
	return func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		return err
	}
}

// hold keeps a namespace in Terminating until release.
func hold(t *testing.T, namespace string) (release func()) {
	t.Helper()
	api := env.Client.CoreV1().ConfigMaps(namespace)
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{holder}}}
	if _, err := api.Create(t.Context(), held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := api.Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	}
}

func stuckNamespace(t *testing.T, metrics, health string) {
	ns := env.Namespace(t)
	_, spaces := framework.Standing(t, env, ns, "claim")
	space := spaces[0].Namespace
	release := hold(t, space)
	framework.Deallocate(t, env, ns, "claim")
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, holder))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", metav1.NamespaceDefault, framework.About("Namespace", space, spaceapi.ReasonStuckTerminating, holder))
	awaitMatch(t, metrics, "/metrics",
		`(?m)^space_dra_provision_duration_seconds_count\{result="success"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="namespace"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="objects"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="rbac"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="status"\} [1-9]`,
		`(?m)^space_dra_spaces\{pool="",state="terminating"\} [1-9]`,
		`(?m)^space_dra_namespaces_stuck_terminating [1-9]`)
	framework.Plainly(health).Await(t, "/readyz", http.StatusOK)
	held, err := env.Client.CoreV1().ConfigMaps(space).Get(t.Context(), "held", metav1.GetOptions{})
	if err != nil || len(held.Finalizers) != 1 {
		t.Errorf("the finalizer of another owner: %v, %v", held.Finalizers, err)
	}
	release()
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space))
}

// heldBindings has finalizers on the RoleBinding of the space, and on one that the tenant
// created.
func heldBindings(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := framework.Standing(t, env, ns, "claim")
	space := spaces[0].Namespace
	tenant := env.As(t, space, spaceapi.ServiceAccountName)
	bindings := env.Client.RbacV1().RoleBindings(space)
	finalizers := func(name, value string) {
		t.Helper()
		if _, err := bindings.Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":`+value+`}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
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
		spaceapi.RoleBindingName: lists(tenant, space),
		"friend":                 lists(env.As(t, space, "default"), space),
	}
	for binding, request := range requests {
		framework.AwaitAllowed(t, "a request with RoleBinding "+binding, request)
		finalizers(binding, `["`+holder+`"]`)
	}
	framework.Deallocate(t, env, ns, "claim")
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
		finalizers(binding, `null`)
	}
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space))
}

// awaitMatch waits until the answer has a match of each pattern.
func awaitMatch(t *testing.T, address, path string, patterns ...string) {
	t.Helper()
	var last string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		code, body, err := framework.Plainly(address).Ask(ctx, path)
		last = fmt.Sprintf("%d, error %v: %s", code, err, body)
		return err == nil && !slices.ContainsFunc(patterns, func(p string) bool { return !regexp.MustCompile(p).MatchString(body) }), nil
	})
	if err != nil {
		t.Fatalf("waited until the answer to %s has %q: %v; the last answer: %s", path, patterns, err, last)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// holder is a finalizer that somebody else would have to remove.
const holder = "example.com/holds"

func TestTheLifeOfASpace(t *testing.T) {
	metrics, health := framework.FreeAddress(t), framework.FreeAddress(t)
	framework.StartController(t, env, "--namespace-deletion-timeout=2s", "--cluster-role=admin",
		"--metrics-bind-address="+metrics, "--health-probe-bind-address="+health)
	t.Run("is ready only when a first pod would start in it", readyIsUsable)
	t.Run("ends with the lifetime of its class", expiry)
	t.Run("goes on for its namespace while its class wants to keep it", retention)
	t.Run("that does not end is reported with the reason", func(t *testing.T) { stuckNamespace(t, metrics, health) })
	t.Run("ends for credentials though a finalizer keeps the RoleBinding", heldBinding)
	t.Run("ends for those whom tenants gave rights", tenantsBinding)
}

func TestARetainedNamespaceGoesThoughTheControllerWasAwayMeanwhile(t *testing.T) {
	first := framework.StartController(t, env, "--leader-elect=false")
	ns := env.Namespace(t)
	space := standingWith(t, ns, `"retention":{"period":"10s"}`)
	isKept := framework.Expect(t, framework.Namespace(env.Client, space.Namespace), kept())
	framework.Deallocate(t, env, ns, "claim")
	isKept()
	first.Stop(t, syscall.SIGKILL)
	framework.StartController(t, env, "--leader-elect=false")
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space.Namespace))
}

// standingWith makes a claim with a space whose class has these fields.
func standingWith(t *testing.T, ns, fields string) spaceapi.SpaceStatus {
	t.Helper()
	allocatedWith(t, ns, fields)
	_, spaces := framework.SpacesOf(t, env, ns, "claim", 1)
	return spaces[0]
}

// allocatedWith makes a claim that is allocated a space whose class has these fields.
func allocatedWith(t *testing.T, ns, fields string) {
	t.Helper()
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	framework.Modify(t, env, ns, "claim", func(claim *resourceapi.ResourceClaim) {
		framework.SetAllocation(claim)
		setClass(claim, fields)
	})
}

// setClass makes an allocation one of a class with parameters.
func setClass(claim *resourceapi.ResourceClaim, fields string) {
	config := resourceapi.DeviceAllocationConfiguration{Source: resourceapi.AllocationConfigSourceClass}
	config.Opaque = &resourceapi.OpaqueDeviceConfiguration{
		Driver:     spaceapi.DefaultDriverName,
		Parameters: runtime.RawExtension{Raw: fmt.Appendf(nil, `{"apiVersion":%q,"kind":%q,%s}`, spaceapi.APIVersion, spaceapi.SpaceClassConfigKind, fields)},
	}
	claim.Status.Allocation.Devices.Config = append(claim.Status.Allocation.Devices.Config, config)
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
		// The controller has asked the API server for these rights before it said Ready.
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
	expired := framework.NotReadyBecause(spaceapi.ReasonExpired, lifetime.String()+", the maximum lifetime of its class")
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
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonExpired, "maximum lifetime"))
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space.Namespace))
	framework.AwaitRefused(t, "a request with the token of an expired space", asks)

	// The namespace's end is an event for the controller. It makes no other.
	framework.Deallocate(t, env, ns, "claim")
	framework.Allocate(t, env, ns, "claim")
	_, next := framework.SpacesOf(t, env, ns, "claim", 1)
	if next[0].Namespace == space.Namespace {
		t.Error("another allocation has the expired space's namespace")
	}
	framework.Deallocate(t, env, ns, "claim")
	return inTime
}

func kept() framework.Predicate[*corev1.Namespace] {
	return framework.That("a namespace that is kept", func(n *corev1.Namespace) bool {
		return n.DeletionTimestamp == nil && n.Annotations[spaceapi.KeysFor(spaceapi.DefaultDriverName).RetainedUntil] != ""
	})
}

func retention(t *testing.T) {
	framework.InTime(t, 15*time.Second, func(limit time.Duration) bool { return retains(t, limit) })
}

func retains(t *testing.T, limit time.Duration) (inTime bool) {
	ns := env.Namespace(t)
	space := standingWith(t, ns, fmt.Sprintf(`"retention":{"period":%q}`, limit))
	asks := lists(env.As(t, space.Namespace, spaceapi.ServiceAccountName), space.Namespace)
	if err := asks(t.Context()); err != nil {
		t.Errorf("a request while the space lives: %v", err)
	}
	isKept := framework.Expect(t, framework.Namespace(env.Client, space.Namespace), kept())
	framework.Deallocate(t, env, ns, "claim")
	isKept()
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonNamespaceRetained, space.Namespace+" is retained until"))
	framework.AwaitRefused(t, "a request with the token of a space that is only kept", asks)
	now, err := env.Client.CoreV1().Namespaces().Get(t.Context(), space.Namespace, metav1.GetOptions{})
	inTime = err == nil && kept().Holds(now)
	framework.AwaitGone[*corev1.ServiceAccount](t, framework.ServiceAccount(env.Client, space.Namespace, spaceapi.ServiceAccountName))

	framework.Allocate(t, env, ns, "claim")
	_, next := framework.SpacesOf(t, env, ns, "claim", 1)
	if next[0].Namespace == space.Namespace {
		t.Error("another allocation has the namespace that is kept")
	}
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space.Namespace))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonDeprovisioned, space.Namespace))
	framework.Deallocate(t, env, ns, "claim")
	return inTime
}

// lists asks for what there is in a namespace.
func lists(client kubernetes.Interface, namespace string) framework.Request {
	return func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		return err
	}
}

// hold puts an object into a namespace that keeps it from going until release.
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
	framework.Plainly(metrics).AwaitMatch(t, "/metrics",
		`(?m)^space_dra_provision_duration_seconds_count\{result="success"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="namespace"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="objects"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="rbac"\} [1-9]`,
		`(?m)^space_dra_provision_step_duration_seconds_count\{step="status"\} [1-9]`,
		`(?m)^space_dra_spaces\{pool="",state="terminating"\} [1-9]`,
		`(?m)^space_dra_namespaces_stuck_terminating [1-9]`)
	framework.Plainly(health).AwaitMatch(t, "/readyz", `^ok`)
	held, err := env.Client.CoreV1().ConfigMaps(space).Get(t.Context(), "held", metav1.GetOptions{})
	if err != nil || len(held.Finalizers) != 1 {
		t.Errorf("the finalizer, which is somebody else's: %v, %v", held.Finalizers, err)
	}
	release()
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space))
}

func heldBinding(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := framework.Standing(t, env, ns, "claim")
	space := spaces[0].Namespace
	asks := lists(env.As(t, space, spaceapi.ServiceAccountName), space)
	framework.AwaitAllowed(t, "a request while the space lives", asks)
	finalizers := func(value string) {
		t.Helper()
		patch := []byte(`{"metadata":{"finalizers":` + value + `}}`)
		if _, err := env.Client.RbacV1().RoleBindings(space).Patch(t.Context(), spaceapi.RoleBindingName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["` + holder + `"]`)
	framework.Deallocate(t, env, ns, "claim")
	binding := framework.Await(t, framework.RoleBinding(env.Client, space, spaceapi.RoleBindingName), framework.That("a RoleBinding without subjects", func(b *rbacv1.RoleBinding) bool {
		return len(b.Subjects) == 0
	}))
	if strings.Join(binding.Finalizers, "") != holder {
		t.Errorf("its finalizers are %q", binding.Finalizers)
	}
	framework.AwaitRefused(t, "a request with the old token", asks)
	finalizers(`null`)
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space))
}

func tenantsBinding(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := framework.Standing(t, env, ns, "claim")
	space := spaces[0].Namespace
	defer hold(t, space)()
	tenant := env.As(t, space, spaceapi.ServiceAccountName)
	given := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "friend", Finalizers: []string{holder}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: space, Name: "default"}},
	}
	if _, err := tenant.RbacV1().RoleBindings(space).Create(t.Context(), given, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	friend := lists(env.As(t, space, "default"), space)
	framework.AwaitAllowed(t, "a friend's request while the space lives", friend)
	framework.Deallocate(t, env, ns, "claim")
	framework.Await(t, framework.RoleBinding(env.Client, space, "friend"), framework.That("a RoleBinding without subjects", func(b *rbacv1.RoleBinding) bool {
		return len(b.Subjects) == 0
	}))
	framework.AwaitRefused(t, "a friend's request after the end", friend)
	if _, err := env.Client.RbacV1().RoleBindings(space).Patch(t.Context(), "friend", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

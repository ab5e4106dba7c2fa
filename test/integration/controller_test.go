// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestController(t *testing.T) {
	startController(t, env)
	t.Run("creates a complete space", completeSpace)
	t.Run("replaces the space of a reallocated claim", reallocation)
	t.Run("deprovisions the space of a deleted claim", deletedClaim)
	t.Run("deprovisions the space of a deleting claim without the built-in finalizer", lostFinalizer)
	t.Run("restores deleted objects", repair)
	t.Run("recreates a deleted namespace", deletedNamespace)
}

// completeSpace checks the status. The census of awaitExact has the objects.
func completeSpace(t *testing.T) {
	ns := env.Namespace(t)
	claim, spaces := standing(t, env, ns, "claim")
	space := spaces[0]
	allocation := allocation.FromClaim(claim, spaceapi.DefaultDriverName)
	if space.AllocationID != allocation.ID || space.Server != env.Cluster.APIServerURL() {
		t.Errorf("the status says allocation %q and server %q, want %q and %q", space.AllocationID, space.Server, allocation.ID, env.Cluster.APIServerURL())
	}
	if want := containeredits.Kubeconfig(space.Server, "/var/run/claim-artifacts/"+string(claim.UID), space.Namespace); space.Kubeconfig != want {
		t.Errorf("the kubeconfig is\n%s\nwant\n%s", space.Kubeconfig, want)
	}

	account, err := env.Client.CoreV1().ServiceAccounts(space.Namespace).Get(t.Context(), space.ServiceAccount, metav1.GetOptions{})
	if err != nil || account.UID != space.ServiceAccountUID {
		t.Errorf("ServiceAccount %s: error %v, UID %s, want %s", space.ServiceAccount, err, account.UID, space.ServiceAccountUID)
	}
	awaitExact(t, spaceapi.DefaultDriverName)
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonProvisioned, space.Namespace))
}

func reallocation(t *testing.T) {
	ns := env.Namespace(t)
	_, first := standing(t, env, ns, "claim")
	release := hold(t, first[0].Namespace)
	deallocate(t, env, ns, "claim")
	framework.Await(t, framework.Namespace(env.Client, first[0].Namespace), terminating())
	allocate(t, env, ns, "claim")
	_, second := spacesOf(t, env, ns, "claim", 1)
	if first[0].Namespace == second[0].Namespace {
		t.Fatalf("the new allocation has namespace %s again", first[0].Namespace)
	}
	old, err := env.Client.CoreV1().Namespaces().Get(t.Context(), first[0].Namespace, metav1.GetOptions{})
	if err != nil || old.DeletionTimestamp == nil {
		t.Errorf("the old namespace should still be Terminating (error: %v)", err)
	}
	if _, err := env.Client.RbacV1().RoleBindings(first[0].Namespace).Get(t.Context(), "space", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the RoleBinding in the Terminating namespace should be deleted: %v", err)
	}
	if _, err := env.Client.CoreV1().ServiceAccounts(first[0].Namespace).Get(t.Context(), "space", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ServiceAccount in the Terminating namespace should be deleted: %v", err)
	}

	release()
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, first[0].Namespace))
	deallocate(t, env, ns, "claim")
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, second[0].Namespace))
}

func deletedClaim(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	env.Kubectl(t, "delete", "resourceclaim", "claim", "-n", ns)
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, spaces[0].Namespace))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonDeprovisioned, spaces[0].Namespace))
}

func lostFinalizer(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	// Another finalizer keeps the object.
	api := env.Client.ResourceV1().ResourceClaims(ns)
	finalizers := func(value string) {
		t.Helper()
		if _, err := api.Patch(t.Context(), "claim", mergePatch, []byte(`{"metadata":{"finalizers":`+value+`}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["example.com/wait"]`)
	if err := api.Delete(t.Context(), "claim", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, spaces[0].Namespace))
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("still there and allocated", func(c *resourceapi.ResourceClaim) bool { return c.Status.Allocation != nil }))
	finalizers(`null`)
}

func repair(t *testing.T) {
	ns := env.Namespace(t)
	_, before := standing(t, env, ns, "claim")
	env.Kubectl(t, "delete", "rolebinding/space", "serviceaccount/space", "-n", before[0].Namespace)
	after := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("ready with another ServiceAccount", func(c *resourceapi.ResourceClaim) bool {
		return len(c.Status.Devices) == 1 && c.Status.Devices[0].Data != nil && framework.SpaceStatus(t, c, 0).ServiceAccountUID != before[0].ServiceAccountUID
	}))
	if got := framework.SpaceStatus(t, after, 0).Namespace; got != before[0].Namespace {
		t.Errorf("the space moved to namespace %s, was %s", got, before[0].Namespace)
	}
	framework.AwaitAny(t, env.Client.RbacV1().RESTClient(), "rolebindings", before[0].Namespace,
		framework.That("called space", func(b *rbacv1.RoleBinding) bool { return b.Name == "space" }))
	deallocate(t, env, ns, "claim")
}

func deletedNamespace(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	before, err := env.Client.CoreV1().Namespaces().Get(t.Context(), spaces[0].Namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "delete", "namespace", before.Name)
	framework.Await(t, framework.Namespace(env.Client, before.Name), framework.That("another one", func(n *corev1.Namespace) bool { return n.UID != before.UID }))
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("ready with another ServiceAccount", func(c *resourceapi.ResourceClaim) bool {
		return framework.SpacesReadyNow(c) && framework.SpaceStatus(t, c, 0).ServiceAccountUID != spaces[0].ServiceAccountUID
	}))
	deallocate(t, env, ns, "claim")
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestStuckNamespace_isDeletedWithItsLastPod deletes a pod with a long grace period by force.
// kube-controller-manager alone would look at its namespace again after half of that period.
func TestStuckNamespace_isDeletedWithItsLastPod(t *testing.T) {
	const driver, node, year = "stuck.example.com", "stuck", 365 * 24 * 3600
	ns := env.Namespace(t)
	install(t, driver, "--stuck-terminating-after=20s").start(t)
	newNode(t, env, node, nil)
	space := provision(t, driver, ns, "claim")
	pod := framework.NewPod("slow")
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](year)
	bind(t, createPod(t, space, pod), node)
	deallocate(t, env, ns, "claim")
	// By now, kube-controller-manager has looked at the namespace and does not change it any more.
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, space)
	if err := env.ForceDelete(t.Context(), space, pod.Name); err != nil {
		t.Fatal(err)
	}
	env.AwaitNamespaceGone(t, space)
}

// TestRetainedNamespace_isRevokedAgain creates what a controller that was paused while it
// provisioned the space would create. The next resync is later than the test is patient.
func TestRetainedNamespace_isRevokedAgain(t *testing.T) {
	const driver = "retained.example.com"
	ns := env.Namespace(t)
	install(t, driver, "--resync-period=1h").start(t)
	space := provision(t, driver, ns, "claim", framework.WithClassConfig(`"retention":{"period":"1h"}`))
	deallocate(t, env, ns, "claim")
	account := framework.ServiceAccount(env.Client, space, spaceapi.ServiceAccountName)
	binding := framework.RoleBinding(env.Client, space, spaceapi.RoleBindingName)
	framework.AwaitGone[*corev1.ServiceAccount](t, account)
	framework.Await(t, framework.Namespace(env.Client, space), framework.That("retained", func(n *corev1.Namespace) bool {
		return n.Annotations[spaceapi.KeysFor(driver).RetainedUntil] != ""
	}))
	name := metav1.ObjectMeta{Name: spaceapi.ServiceAccountName}
	if _, err := env.Client.CoreV1().ServiceAccounts(space).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: name}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := env.Client.RbacV1().RoleBindings(space).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: space, Name: spaceapi.ServiceAccountName}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitGone[*rbacv1.RoleBinding](t, binding)
	framework.AwaitGone[*corev1.ServiceAccount](t, account)
	env.Kubectl(t, "delete", "namespace", space)
}

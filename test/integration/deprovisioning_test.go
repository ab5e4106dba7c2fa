// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"maps"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestStuckNamespace_isDeletedWithItsLastPod force-deletes a pod with a long grace period.
// Kubernetes alone would retry the deletion of the namespace after half of that period.
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
	// At this time, kube-controller-manager waits before it retries the deletion.
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, space)
	if err := env.ForceDelete(t.Context(), space, pod.Name); err != nil {
		t.Fatal(err)
	}
	env.AwaitNamespaceDeleted(t, space)
}

// TestRetainedNamespace_revokesNewCredentials creates credentials as a paused leader does when it
// resumes. The next resync is long after the test, so that only watches can show them.
func TestRetainedNamespace_revokesNewCredentials(t *testing.T) {
	const driver = "retained.example.com"
	ns := env.Namespace(t)
	install(t, driver, "--resync-period=1h").start(t)
	space := provision(t, driver, ns, "claim", framework.WithClassConfig(`"retention":{"period":"1h"}`))
	deallocate(t, env, ns, "claim")
	account := framework.ServiceAccount(env.Client, space, spaceapi.ServiceAccountName)
	binding := framework.RoleBinding(env.Client, space, spaceapi.RoleBindingName)
	framework.AwaitDeleted[*corev1.ServiceAccount](t, account)
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
	framework.AwaitDeleted[*rbacv1.RoleBinding](t, binding)
	framework.AwaitDeleted[*corev1.ServiceAccount](t, account)
	env.Kubectl(t, "delete", "namespace", space)
}

// TestDeprovision_doesNotWaitForOtherFinalizers has another finalizer on a claim that is being
// deleted, so that the claim still exists, with its allocation.
func TestDeprovision_doesNotWaitForOtherFinalizers(t *testing.T) {
	startController(t, env)
	ns := env.Namespace(t)
	_, spaces := readyClaim(t, env, ns, "claim")
	finalizers := func(finalizers ...string) {
		t.Helper()
		framework.SetFinalizers(t, env.Client.ResourceV1().RESTClient(), "resourceclaims", ns, "claim", finalizers...)
	}
	finalizers("example.com/wait")
	if err := env.Client.ResourceV1().ResourceClaims(ns).Delete(t.Context(), "claim", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	env.AwaitNamespaceDeleted(t, spaces[0].Namespace)
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.That("allocated", func(c *resourceapi.ResourceClaim) bool { return c.Status.Allocation != nil }))
	finalizers()
}

func TestDeprovision_isNotCausedByErrors(t *testing.T) {
	for how, answer := range map[string]faults.Answer{"failed": faults.Failed, "broken": faults.Broken, "not-served": faults.NotServed} {
		for verb, what := range map[string]string{
			"get":  "the read of the claim from the API server",
			"list": "the first list of all claims",
		} {
			t.Run(what+" is "+how, func(t *testing.T) {
				t.Parallel()
				testNotDeprovisioned(t, verb+"-"+how+".example.com", verb, answer)
			})
		}
	}
}

func testNotDeprovisioned(t *testing.T, driver, verb string, answer faults.Answer) {
	i := install(t, driver)
	ns := env.Namespace(t)
	i.start(t)
	provision(t, driver, ns, "claim")
	before := activeNamespaces(t, driver)
	i.kill(t)
	// The controller sends the request only if there is a space to deprovision.
	deallocate(t, env, ns, "claim")

	// A third request shows that the controller has handled two failures.
	const requests = 3
	failed := make(chan struct{})
	var mutex sync.Mutex
	var received int
	var deletions []faults.Call
	i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		mutex.Lock()
		defer mutex.Unlock()
		if strings.HasPrefix(call.Verb, "delete") {
			deletions = append(deletions, call)
		}
		// A list may be requested as the beginning of a watch.
		if call.Resource != "resourceclaims" || call.Verb != verb && (verb != "list" || call.Verb != "watch") {
			return faults.Forwarded
		}
		if received++; received == requests {
			close(failed)
		}
		return answer
	})
	i.start(t)
	await(t, "the controller has sent three requests", failed)
	mutex.Lock()
	if len(deletions) > 0 {
		t.Errorf("the controller could not read the claim, but requested %v", deletions)
	}
	mutex.Unlock()
	if now := activeNamespaces(t, driver); !maps.Equal(now, before) {
		t.Errorf("the active namespaces were %v, and are now %v", before, now)
	}

	i.proxy.Intercept(nil)
	awaitNoNamespaces(t, driver)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestStuckTerminating_namesPodsAndFinalizersOfTheNamespace has causes for which Kubernetes has no condition.
func TestStuckTerminating_namesPodsAndFinalizersOfTheNamespace(t *testing.T) {
	const driver = "stuck.example.com"
	i := install(t, driver, "--stuck-terminating-after=2s")
	i.start(t)
	newNode(t, env, "stuck-node", nil)
	stuck := func(ns, space, words string) {
		t.Helper()
		deallocate(t, env, ns, "claim")
		awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, words)
		awaitEvent(t, metav1.NamespaceDefault, "Namespace", space, spaceapi.ReasonStuckTerminating, words)
	}

	t.Run("finalizers in its metadata", func(t *testing.T) {
		ns := env.Namespace(t)
		space := provision(t, driver, ns, "claim")
		namespaces := env.Client.CoreV1().RESTClient()
		framework.SetFinalizers(t, namespaces, "namespaces", "", space, "example.com/hold")
		stuck(ns, space, "the metadata of the Namespace has the finalizers example.com/hold")
		framework.SetFinalizers(t, namespaces, "namespaces", "", space)
		env.AwaitNamespaceDeleted(t, space)
	})
	t.Run("a pod in its grace period", func(t *testing.T) {
		ns := env.Namespace(t)
		space := provision(t, driver, ns, "claim")
		pod := framework.NewPod("slow")
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](300)
		bind(t, createPod(t, space, pod), "stuck-node")
		stuck(ns, space, "whose termination grace periods can last until")
		if err := env.ForceDelete(t.Context(), space, "slow"); err != nil {
			t.Fatal(err)
		}
		env.AwaitNamespaceDeleted(t, space)
	})
}

// An operator in a space works with the permissions of the space.
func TestStuckTerminating_namesCustomResourcesOfAnOperatorInTheSpace(t *testing.T) {
	const driver = "operators.example.com"
	i := install(t, driver, "--stuck-terminating-after=2s")
	i.start(t)
	createWidgets(t)
	ns := env.Namespace(t)
	// use provisions a space with a custom resource that has a finalizer of an operator, and returns
	// how the operator removes it.
	use := func(claim string) (space string, finalize framework.Request) {
		t.Helper()
		space = provision(t, driver, ns, claim)
		tenant := env.As(t, space, spaceapi.ServiceAccountName)
		body := fmt.Sprintf(`{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w","finalizers":[%q]}}`, testFinalizer)
		framework.AwaitAllowed(t, "creating a Widget", framework.Post(widgetPath(space, ""), body).Stored().By(tenant))
		return space, framework.Patch(widgetPath(space, "w"), `{"metadata":{"finalizers":null}}`).Stored().By(tenant)
	}

	t.Run("deleted after the space is deprovisioned", func(t *testing.T) {
		space, finalize := use("too-late")
		deallocate(t, env, ns, "too-late")
		for _, words := range []string{"widgets.example.com has 1 resource instances", testFinalizer + " in 1 resource instances"} {
			awaitEvent(t, ns, "ResourceClaim", "too-late", spaceapi.ReasonStuckTerminating, words)
			awaitEvent(t, metav1.NamespaceDefault, "Namespace", space, spaceapi.ReasonStuckTerminating, words)
			if why, _, _ := env.Admin().TryKubectlSpace(t.Context(), "why", "namespace/"+space, "--driver-name="+driver); !strings.Contains(why, words) {
				t.Errorf("kubectl space why prints %q, want %q", why, words)
			}
		}
		awaitRevoked(t, finalize)
		// An operator outside of the space has its own permissions.
		if err := framework.Patch(widgetPath(space, "w"), `{"metadata":{"finalizers":null}}`).Stored().By(env.Client)(t.Context()); err != nil {
			t.Error(err)
		}
		env.AwaitNamespaceDeleted(t, space)
	})
	t.Run("deleted before", func(t *testing.T) {
		space, finalize := use("in-time")
		tenant := env.As(t, space, spaceapi.ServiceAccountName)
		for _, request := range []framework.Request{framework.Delete(widgetPath(space, "w")).Stored().By(tenant), finalize} {
			if err := request(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		deallocate(t, env, ns, "in-time")
		env.AwaitNamespaceDeleted(t, space)
	})
}

func widgetPath(namespace, name string) string {
	return strings.TrimSuffix("/apis/example.com/v1/namespaces/"+namespace+"/widgets/"+name, "/")
}

// createWidgets creates a kind of custom resources that the role edit covers, and deletes it at the
// end of the test.
func createWidgets(t *testing.T) {
	t.Helper()
	const definitions, roles, role = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "widgets-edit"
	for path, object := range map[string]string{
		definitions: `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com"},
			"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget"},
			"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`,
		roles: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"` + role + `",
			"labels":{"rbac.authorization.k8s.io/aggregate-to-edit":"true"}},"rules":[{"apiGroups":["example.com"],"resources":["widgets"],"verbs":["*"]}]}`,
	} {
		if err := framework.Post(path, object).Stored().By(env.Client)(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, path := range []string{definitions + "/widgets.example.com", roles + "/" + role} {
			if err := framework.Delete(path).Stored().By(env.Client)(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	// kube-controller-manager deletes what it discovers.
	framework.Eventually(t, "Widgets to be discovered", func(context.Context) error {
		lists, err := discovery.ServerPreferredNamespacedResources(env.Client.Discovery())
		if !slices.ContainsFunc(lists, func(list *metav1.APIResourceList) bool { return list.GroupVersion == "example.com/v1" }) {
			return fmt.Errorf("they are not, error %w", err)
		}
		return nil
	})
}

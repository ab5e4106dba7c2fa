// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// spaceNamespace returns a namespace with the labels of a space, and also with its annotations unless
// claim is empty.
func spaceNamespace(driver, name string, uid types.UID, namespace, claim string) *corev1.Namespace {
	keys := spaceapi.KeysFor(driver)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{keys.ClaimUID: string(uid), keys.AllocationID: "some"},
	}}
	if claim != "" {
		ns.Annotations = map[string]string{keys.ClaimNamespace: namespace, keys.ClaimName: claim, keys.Request: "space"}
	}
	return ns
}

func createNamespace(t *testing.T, ns *corev1.Namespace) *corev1.Namespace {
	t.Helper()
	created, err := env.Client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// awaitResync restarts the controller, and waits until it has compared all namespaces. It then has
// deleted one whose claim does not exist.
func (i *installation) awaitResync(t *testing.T, name string) {
	t.Helper()
	i.kill(t)
	last := createNamespace(t, spaceNamespace(i.driver, name, "stale", "missing", "stale"))
	i.start(t)
	env.AwaitNamespaceDeleted(t, last.Name)
}

func TestForeignNamespaces_areNotChanged(t *testing.T) {
	const driver = "foreign.example.com"
	ns := env.Namespace(t)
	i := install(t, driver)
	i.start(t)
	foreign := map[string]*corev1.Namespace{}
	for claim, namespace := range map[string]func(name string) *corev1.Namespace{
		"unlabelled": func(name string) *corev1.Namespace {
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		},
		"another-claims": func(name string) *corev1.Namespace { return spaceNamespace(driver, name, "another", "", "") },
	} {
		env.CreateClaim(t, ns, framework.NewClaim(claim))
		_, foreign[claim] = framework.AllocateWithConflict(t, env, driver, ns, claim, namespace)
		awaitEvent(t, ns, "ResourceClaim", claim, spaceapi.ReasonNameConflict, foreign[claim].Name)
	}
	foreign["without a claim"] = createNamespace(t, spaceNamespace(driver, "nameless-space", "stale", "", ""))

	i.awaitResync(t, "foreign-marker")
	for claim := range foreign {
		if claim != "without a claim" {
			deallocate(t, env, ns, claim)
		}
	}
	i.awaitResync(t, "foreign-marker-deallocated")
	for what, before := range foreign {
		now, err := env.Client.CoreV1().Namespaces().Get(t.Context(), before.Name, metav1.GetOptions{})
		if err != nil || now.ResourceVersion != before.ResourceVersion {
			t.Errorf("%s: the namespace was changed (error: %v): %v", what, err, now)
		}
		if _, err := env.Client.CoreV1().ServiceAccounts(before.Name).Get(t.Context(), spaceapi.ServiceAccountName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: the namespace has a ServiceAccount of a space (error: %v)", what, err)
		}
		env.Kubectl(t, "delete", "namespace", before.Name, "--wait=false")
	}
}

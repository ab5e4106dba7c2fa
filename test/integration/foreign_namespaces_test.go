// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"maps"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// recorded is a namespace with the labels of a space, and with its annotations if the
// claim has a name.
func recorded(driver, name string, uid types.UID, namespace, claim string) *corev1.Namespace {
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

// awaitResync restarts the controller, and waits until it has compared all namespaces:
// it deletes the one that is left of a claim that does not exist.
func (i *installation) awaitResync(t *testing.T, name string) {
	t.Helper()
	i.kill(t)
	last := createNamespace(t, recorded(i.driver, name, "stale", "nowhere", "stale"))
	i.start(t)
	env.AwaitNamespaceGone(t, last.Name)
}

func TestForeignNamespaces_areLeftAlone(t *testing.T) {
	const driver = "foreign.example.com"
	ns := env.Namespace(t)
	i := install(t, driver)
	i.start(t)
	foreign := map[string]*corev1.Namespace{}
	for claim, namespace := range map[string]func(name string) *corev1.Namespace{
		"unlabelled": func(name string) *corev1.Namespace {
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		},
		"another-claims": func(name string) *corev1.Namespace { return recorded(driver, name, "another", "", "") },
	} {
		env.CreateClaim(t, ns, framework.NewClaim(claim))
		_, foreign[claim] = framework.AllocateOccupied(t, env, driver, ns, claim, namespace)
		awaitEvent(t, ns, "ResourceClaim", claim, spaceapi.ReasonNameConflict, foreign[claim].Name)
	}
	foreign["without a claim"] = createNamespace(t, recorded(driver, "nameless-space", "stale", "", ""))

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

func TestDeprovision_notOnAnError(t *testing.T) {
	for how, answer := range map[string]faults.Answer{"refused": faults.Refused, "broken": faults.Broken, "not-served": faults.NotServed} {
		for verb, what := range map[string]string{
			"get":  "the live read of the claim",
			"list": "the first list of all claims",
		} {
			t.Run(what+" is "+how, func(t *testing.T) {
				t.Parallel()
				notDeprovisioned(t, verb+"-"+how+".example.com", verb, answer)
			})
		}
	}
}

func notDeprovisioned(t *testing.T, driver, verb string, answer faults.Answer) {
	i := install(t, driver)
	ns := env.Namespace(t)
	i.start(t)
	provision(t, driver, ns, "claim")
	before := livingNamespaces(t, driver)
	i.kill(t)
	// The controller needs an answer only if there is a space to deprovision.
	deallocate(t, env, ns, "claim")

	// A third request shows that it has handled two failures.
	const tries = 3
	failed := make(chan struct{})
	var mutex sync.Mutex
	var asked int
	var deletions []faults.Call
	i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
		mutex.Lock()
		defer mutex.Unlock()
		if strings.HasPrefix(call.Verb, "delete") {
			deletions = append(deletions, call)
		}
		// A list may be requested as the beginning of a watch.
		if call.Resource != "resourceclaims" || call.Verb != verb && (verb != "list" || call.Verb != "watch") {
			return faults.Real
		}
		if asked++; asked == tries {
			close(failed)
		}
		return answer
	})
	i.start(t)
	await(t, "the controller has asked three times", failed)
	mutex.Lock()
	if len(deletions) > 0 {
		t.Errorf("the controller knew nothing about the claim, but requested %v", deletions)
	}
	mutex.Unlock()
	if now := livingNamespaces(t, driver); !maps.Equal(now, before) {
		t.Errorf("the living spaces were %v, and are now %v", before, now)
	}

	i.proxy.Intercept(nil)
	awaitNothing(t, driver)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/pkg/space/allocation"
	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// recorded is a namespace with a space's labels, and with its annotations where
// the claim has a name.
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

// sameAs fails the test when somebody has changed the namespace or begun to delete
// it, or has put a ServiceAccount for pods of a space into it.
func sameAs(t *testing.T, before *corev1.Namespace) {
	t.Helper()
	now, err := env.Client.CoreV1().Namespaces().Get(t.Context(), before.Name, metav1.GetOptions{})
	if err != nil || now.ResourceVersion != before.ResourceVersion {
		t.Errorf("the namespace was touched (error: %v): %v", err, now)
	}
	accounts, err := env.Client.CoreV1().ServiceAccounts(before.Name).List(t.Context(), metav1.ListOptions{})
	if err != nil || slices.ContainsFunc(accounts.Items, func(a corev1.ServiceAccount) bool { return a.Name == spaceapi.ServiceAccountName }) {
		t.Errorf("namespace %s has got a ServiceAccount (error: %v)", before.Name, err)
	}
}

// allSeen waits until the controller, and another one after it, have dealt with
// all namespaces there are: what it does with the last one shows that.
func (i *installation) allSeen(t *testing.T, name string) {
	t.Helper()
	for _, again := range []string{"-1", "-2"} {
		last := createNamespace(t, recorded(i.driver, name+again, "dead", "nowhere", "dead"))
		framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, last.Name))
		i.kill(t)
		i.start(t)
	}
}

func TestANamespaceWithAnotherClaimsUIDIsNeitherAdoptedNorDeleted(t *testing.T) {
	const driver = "uid.example.com"
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	addFinalizer(t, ns, "claim")
	claim, err := env.Client.ResourceV1().ResourceClaims(ns).Get(t.Context(), "claim", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	allocationFor(driver)(claim)
	name := allocation.FromClaim(claim, driver).Results[0].NamespaceName(spaceapi.DefaultNamespacePrefix)
	foreign := createNamespace(t, recorded(driver, name, "another", "", ""))
	defer env.Kubectl(t, "delete", "namespace", name, "--wait=false")

	i := install(t, driver)
	i.start(t)
	if _, err := env.Client.ResourceV1().ResourceClaims(ns).UpdateStatus(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.NotReadyBecause(spaceapi.ReasonNameConflict, name))
	sameAs(t, foreign)
	deallocate(t, env, ns, "claim")
	i.allSeen(t, "uid-marker")
	sameAs(t, foreign)
}

func TestANamespaceWhoseRecordNamesNoClaimIsLeftAlone(t *testing.T) {
	const driver = "nameless.example.com"
	i := install(t, driver)
	i.start(t)
	nameless := createNamespace(t, recorded(driver, "nameless-space", "dead", "", ""))
	defer env.Kubectl(t, "delete", "namespace", nameless.Name, "--wait=false")
	i.allSeen(t, "nameless-marker")
	sameAs(t, nameless)
}

// A claim that was deleted and made again by the same name has nothing to do with
// the spaces of the one before.
func TestASpaceOfAnEarlierClaimOfTheNameIsEnded(t *testing.T) {
	const driver = "earlier.example.com"
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, driver, ns, "claim")
	earlier := createNamespace(t, recorded(driver, "earlier-space", "earlier", ns, "claim"))
	install(t, driver).start(t)
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, earlier.Name))
	awaitExact(t, driver)
	deallocate(t, env, ns, "claim")
	awaitNothing(t, driver)
}

// Nothing is deleted because the API server could not be asked.
func TestNoSpaceIsEndedOnAnError(t *testing.T) {
	for how, answer := range map[string]faults.Answer{"refused": faults.Refused, "broken": faults.Broken} {
		for verb, what := range map[string]string{
			"get":  "the look at the claim before a space is ended",
			"list": "the list of all claims at the start",
		} {
			t.Run(what+" is "+how, func(t *testing.T) {
				t.Parallel()
				noSpaceIsEnded(t, verb+"-"+how+".example.com", verb, answer)
			})
		}
	}
}

func noSpaceIsEnded(t *testing.T, driver, verb string, answer faults.Answer) {
	i := install(t, driver)
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, driver, ns, "claim")
	i.start(t)
	awaitExact(t, driver)
	space, err := env.Client.CoreV1().Namespaces().Get(t.Context(), spaceOf(t, driver, ns, "claim"), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i.kill(t)
	// There has to be a space to end, for the controller to need an answer.
	deallocate(t, env, ns, "claim")

	// When it asks for the third time, it has got over not having an answer twice.
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
		// A list can be asked for as the beginning of a watch.
		if call.Resource != "resourceclaims" || call.Verb != verb && (verb != "list" || call.Verb != "watch") {
			return faults.Real
		}
		if asked++; asked == tries {
			close(failed)
		}
		return answer
	})
	i.start(t)
	await(t, "the controller has asked several times", failed)
	mutex.Lock()
	if len(deletions) > 0 {
		t.Errorf("the controller knew nothing about the claim, and yet asked to %v", deletions)
	}
	mutex.Unlock()
	now, err := env.Client.CoreV1().Namespaces().Get(t.Context(), space.Name, metav1.GetOptions{})
	if err != nil || now.UID != space.UID || now.DeletionTimestamp != nil {
		t.Errorf("the space was ended (error: %v): %v", err, now)
	}

	i.proxy.Intercept(nil)
	awaitNothing(t, driver)
}

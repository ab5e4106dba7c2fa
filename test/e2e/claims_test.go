// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// claimOf waits until a pod's template claim has a space and returns the claim.
func claimOf(t *testing.T, ns, pod string) *resourceapi.ResourceClaim {
	t.Helper()
	return framework.Await(t, framework.Claim(env.Client, ns, generatedClaim(t, ns, pod)), framework.SpacesReady(1))
}

// generatedClaim waits until a pod's only claim has been made from its template,
// and returns its name.
func generatedClaim(t *testing.T, ns, pod string) string {
	t.Helper()
	p := framework.Await(t, framework.Pod(env.Client, ns, pod), framework.That("given a claim", func(p *corev1.Pod) bool {
		return len(p.Status.ResourceClaimStatuses) == 1 && p.Status.ResourceClaimStatuses[0].ResourceClaimName != nil
	}))
	return *p.Status.ResourceClaimStatuses[0].ResourceClaimName
}

func awaitClaimGone(t *testing.T, ns, name string) {
	t.Helper()
	framework.AwaitGone[*resourceapi.ResourceClaim](t, framework.Claim(env.Client, ns, name))
}

// create creates a pod that need not become ready.
func create(t *testing.T, ns string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	created, err := env.Client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create pod %s: %v", pod.Name, err)
	}
	return created
}

// spacesOf returns the namespaces that there are for a claim.
func spacesOf(t *testing.T, claim types.UID) []corev1.Namespace {
	t.Helper()
	list, err := env.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: "space.resource.example.com/claim-uid=" + string(claim)})
	if err != nil {
		t.Fatalf("list the namespaces of claim %s: %v", claim, err)
	}
	return list.Items
}

// noSpaceOf fails the test if there is a namespace for the claim.
func noSpaceOf(t *testing.T, claim types.UID) {
	t.Helper()
	for _, ns := range spacesOf(t, claim) {
		t.Errorf("claim %s has namespace %s, want none", claim, ns.Name)
	}
}

// noTraceOf fails the test if anything of the claim is on a node.
func noTraceOf(t *testing.T, claim types.UID) {
	t.Helper()
	if left := env.TracesOf(t, claim); len(left) != 0 {
		t.Errorf("of claim %s there is on the nodes: %v", claim, left)
	}
}

// unscheduled is a pod that the scheduler has looked at in vain.
func unscheduled() framework.Predicate[*corev1.Pod] {
	return framework.That("found unschedulable", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
			}
		}
		return false
	})
}

func TestAForceDeletedPodLeavesNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.NewPod("pod", "test-claim"))
	s := spaceOf(t, ns, "pod", "TEST_CLAIM")
	if len(env.TracesOf(t, claim.UID)) == 0 {
		t.Fatal("nothing on the nodes names the claim while it is in use: the check below would prove nothing")
	}

	if err := env.ForceDelete(t.Context(), ns, "pod"); err != nil {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	awaitNamespaceGone(t, s.namespace)
	env.AwaitNoTraceOf(t, claim.UID)
}

// Nobody allocates a claim for a pod that passes the scheduler by: it waits until
// another pod has the claim allocated, or for ever.
func TestAPodWithAPresetNodeAndAClaimOfItsOwnWaitsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	pod := framework.NewPod("pod", "test-claim")
	pod.Spec.NodeName = node(0)
	create(t, ns, pod)
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", "pod", "FailedPrepareDynamicResources",
		"is not allowed to use ResourceClaim test-claim"))

	now := framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	if len(now.Status.ReservedFor) != 0 || len(now.Status.Devices) != 0 {
		t.Errorf("the claim of a pod that waits has the status %v, want none", now.Status)
	}
	noSpaceOf(t, claim.UID)
	env.DeletePod(t, ns, "pod")
	noSpaceOf(t, claim.UID)
	noTraceOf(t, claim.UID)
}

func TestAPodThatFitsNoNodeLeavesNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "my-space")
	create(t, ns, framework.On("no-such-node", framework.NewPodFromTemplate("pod", "my-space")))
	framework.Await(t, framework.Pod(env.Client, ns, "pod"), unscheduled())
	name := generatedClaim(t, ns, "pod")
	claim := framework.Await(t, framework.Claim(env.Client, ns, name), framework.Deallocated())
	noSpaceOf(t, claim.UID)

	env.DeletePod(t, ns, "pod")
	awaitClaimGone(t, ns, name)
	noSpaceOf(t, claim.UID)
	noTraceOf(t, claim.UID)
}

func TestAPodThatComesWhenTheClaimIsBeingDeletedGetsNothingOfIt(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.NewPod("first", "test-claim"))
	s := spaceOf(t, ns, "first", "TEST_CLAIM")
	if err := env.Client.ResourceV1().ResourceClaims(ns).Delete(t.Context(), "test-claim", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, ns, framework.NewPod("late", "test-claim"))
	s.usable(t, ns, "first")

	env.DeletePod(t, ns, "first")
	awaitClaimGone(t, ns, "test-claim")
	awaitNamespaceGone(t, s.namespace)
	noTraceOf(t, claim.UID)
	// The scheduler keeps it back without a word.
	framework.Await(t, framework.Pod(env.Client, ns, "late"), framework.That("bound to no node", func(p *corev1.Pod) bool { return p.Spec.NodeName == "" }))

	// A new claim of that name is the late pod's.
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	framework.Await(t, framework.Pod(env.Client, ns, "late"), framework.PodReady())
	if now := spaceOf(t, ns, "late", "TEST_CLAIM"); now.namespace == s.namespace {
		t.Errorf("the new claim has the namespace %s of the old one", now.namespace)
	}
}

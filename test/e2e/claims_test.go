// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// allocated matches a claim with an allocation.
func allocated() framework.Predicate[*resourceapi.ResourceClaim] {
	return framework.That("allocated", func(c *resourceapi.ResourceClaim) bool { return c.Status.Allocation != nil })
}

func awaitClaimDeleted(t *testing.T, ns, name string) {
	t.Helper()
	framework.AwaitDeleted[*resourceapi.ResourceClaim](t, framework.Claim(env.Client, ns, name))
}

// unschedulable matches a pod for which the scheduler has found no node.
func unschedulable() framework.Predicate[*corev1.Pod] {
	return framework.That("unschedulable", func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
		})
	})
}

func TestForceDeletedPod_leavesNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.NewPod("pod", "test-claim"))
	if len(env.FilesOf(t, s.Claim)) == 0 {
		t.Fatal("the nodes have no files of a claim that is in use")
	}

	if err := env.ForceDelete(t.Context(), ns, "pod"); err != nil {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	env.AwaitNamespaceDeleted(t, s.Namespace)
	env.AwaitNoFilesOf(t, s.Claim)
}

// TestForceDeletedPod_nextPodHasTheNewSpace has a new pod while the kubelet still stops the one that
// was deleted by force. The kubelet then does not call Prepare, because it has prepared the claim: the
// kubelet plugin replaces the credentials by itself.
func TestForceDeletedPod_nextPodHasTheNewSpace(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	pod := func() *corev1.Pod {
		pod := framework.On(env.Node(0), framework.WithScript("trap '' TERM; sleep infinity & wait; wait", framework.NewPod("pod", "test-claim")))
		pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
		return pod
	}
	previous := env.Use(t, ns, framework.NewClaim("test-claim"), pod())
	if err := env.ForceDelete(t.Context(), ns, "pod"); err != nil {
		t.Fatal(err)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	env.CreatePod(t, ns, pod())
	claim := framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.That("ready", framework.SpacesReadyNow))
	space := framework.SpaceStatus(t, claim, 0)
	if space.Namespace == previous.Namespace {
		t.Fatalf("both allocations have namespace %s", space.Namespace)
	}
	// If the kubelet has stopped the previous pod before, it prepares the claim as usual.
	framework.AwaitAllowed(t, "read in the new space", func(ctx context.Context) error {
		_, err := env.TryExec(ctx, ns, "pod", "kubectl", "--kubeconfig", previous.Kubeconfig, "get", "configmaps", "-n", space.Namespace)
		return err
	})
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, space.Namespace)
	env.AwaitNoFilesOf(t, previous.Claim)
}

// TestPresetNode_withoutAllocationWaits has a pod that bypasses the scheduler, which would allocate
// the claim.
func TestPresetNode_withoutAllocationWaits(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	pod := framework.NewPod("pod", "test-claim")
	pod.Spec.NodeName = env.Node(0)
	env.StartPod(t, ns, pod)
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.EventAbout("Pod", "pod", "FailedPrepareDynamicResources",
		"is not allowed to use ResourceClaim test-claim"))

	now := framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.Deallocated())
	if len(now.Status.ReservedFor) != 0 || len(now.Status.Devices) != 0 {
		t.Errorf("the claim of a waiting pod has the status %v, want none", now.Status)
	}
	env.CheckNoSpaceOf(t, claim.UID)
	env.DeletePod(t, ns, "pod")
	env.CheckNoSpaceOf(t, claim.UID)
	env.CheckNoFilesOf(t, claim.UID)
}

func TestUnschedulablePod_leavesNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateTemplate(t, ns, "my-space")
	env.StartPod(t, ns, framework.On("no-such-node", framework.NewPodFromTemplate("pod", "my-space")))
	framework.Await(t, framework.Pod(env.Client, ns, "pod"), unschedulable())
	name := env.GeneratedClaim(t, ns, "pod")
	claim := framework.Await(t, framework.Claim(env.Client, ns, name), framework.Deallocated())
	env.CheckNoSpaceOf(t, claim.UID)

	env.DeletePod(t, ns, "pod")
	awaitClaimDeleted(t, ns, name)
	env.CheckNoSpaceOf(t, claim.UID)
	env.CheckNoFilesOf(t, claim.UID)
}

func TestDeletedClaim_isNotAvailableToNewPods(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	s := env.Use(t, ns, framework.NewClaim("test-claim"), framework.NewPod("first", "test-claim"))
	env.Kubectl(t, "delete", "resourceclaim", "test-claim", "-n", ns, "--wait=false")
	env.StartPod(t, ns, framework.NewPod("new", "test-claim"))
	s.CheckUsable(t, ns, "first")

	env.DeletePod(t, ns, "first")
	awaitClaimDeleted(t, ns, "test-claim")
	env.AwaitNamespaceDeleted(t, s.Namespace)
	env.CheckNoFilesOf(t, s.Claim)
	// The scheduler does not bind it, and reports nothing.
	framework.Await(t, framework.Pod(env.Client, ns, "new"), framework.That("bound to no node", func(p *corev1.Pod) bool { return p.Spec.NodeName == "" }))

	// The pod uses a new claim with the same name.
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	framework.Await(t, framework.Pod(env.Client, ns, "new"), framework.PodReady())
	if now := env.SpaceOf(t, ns, "new", "test-claim"); now.Namespace == s.Namespace {
		t.Errorf("the new claim has namespace %s of the deleted one", now.Namespace)
	}
}

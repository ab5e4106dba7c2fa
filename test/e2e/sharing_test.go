// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestSharedClaim_onTwoNodes(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.On(env.Node(0), framework.NewPod("pod0", "test-claim")))
	env.CreatePod(t, ns, framework.On(env.Node(1), framework.NewPod("pod1", "test-claim")))

	s0, s1 := env.SpaceOf(t, ns, "pod0", "TEST_CLAIM"), env.SpaceOf(t, ns, "pod1", "TEST_CLAIM")
	if s0.Namespace != s1.Namespace {
		t.Fatalf("pod0 has %s and pod1 has %s, want the same", s0.Namespace, s1.Namespace)
	}
	s0.Usable(t, ns, "pod0")
	s1.Usable(t, ns, "pod1")
	s1.Kubectl(t, ns, "pod1", "get", "configmap", "from-pod0")
	env.Exec(t, ns, "pod0", "kubectl", "--kubeconfig", "/etc/test-claim/kubeconfig", "get", "configmap", "from-pod1")

	env.DeletePod(t, ns, "pod0")
	s1.Kubectl(t, ns, "pod1", "get", "configmap", "from-pod0")
	env.DeletePod(t, ns, "pod1")
	env.AwaitNamespaceGone(t, s0.Namespace)
}

func TestClaim_withTwoRequestsHasTwoSpaces(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim", "build-area", "deploy"))
	pod := framework.NewPod("pod", "test-claim")
	other := *pod.Spec.Containers[0].DeepCopy()
	other.Name = "deploy-only"
	other.Resources.Claims[0].Request = "deploy"
	pod.Spec.Containers = append(pod.Spec.Containers, other)
	env.CreatePod(t, ns, pod)

	build, deploy := env.SpaceOf(t, ns, "pod/ctr", "TEST_CLAIM_BUILD_AREA"), env.SpaceOf(t, ns, "pod/ctr", "TEST_CLAIM_DEPLOY")
	if build.Namespace == deploy.Namespace {
		t.Fatalf("both requests have namespace %s", build.Namespace)
	}
	build.Usable(t, ns, "pod/ctr")
	deploy.Usable(t, ns, "pod/ctr")
	env.Exec(t, ns, "pod/ctr", "cat", "/etc/test-claim/build-area/kubeconfig", "/etc/test-claim/deploy/kubeconfig")

	// A container that asks for one request gets that one only.
	if got := env.SpaceOf(t, ns, "pod/deploy-only", "TEST_CLAIM_DEPLOY"); got != deploy {
		t.Errorf("the second container has %v, want %v", got, deploy)
	}
	if got, there := env.Variables(t, ns, "pod/deploy-only")["TEST_CLAIM_BUILD_AREA_NAMESPACE"]; there {
		t.Errorf("the second container has the request that it did not ask for: %s", got)
	}
	framework.Await(t, framework.Claim(env.Client, ns, "test-claim"), framework.SpacesReady(2))
}

func TestCredentials_areReadableByAnyUser(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	pod := framework.NewPod("pod", "test-claim")
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		RunAsNonRoot:             ptr.To(true),
		RunAsUser:                ptr.To[int64](12345),
		RunAsGroup:               ptr.To[int64](23456),
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	env.CreatePod(t, ns, pod)

	s := env.SpaceOf(t, ns, "pod", "TEST_CLAIM")
	s.Kubectl(t, ns, "pod", "--cache-dir=/dev/shm", "create", "configmap", "from-unprivileged")
	if out, err := env.TryExec(t.Context(), ns, "pod", "sh", "-c", "echo x > /etc/test-claim/token"); err == nil {
		t.Errorf("the token could be written: %s", out)
	}
}

func TestPresetNode_sharesAnAllocatedClaim(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, framework.NewClaim("test-claim"))
	env.CreatePod(t, ns, framework.On(env.Node(0), framework.NewPod("scheduled", "test-claim")))
	preset := framework.NewPod("preset", "test-claim")
	preset.Spec.NodeName = env.Node(1)
	env.CreatePod(t, ns, preset)

	s := env.SpaceOf(t, ns, "preset", "TEST_CLAIM")
	s.Usable(t, ns, "preset")
	if other := env.SpaceOf(t, ns, "scheduled", "TEST_CLAIM"); other != s {
		t.Errorf("the pods have %v and %v, want the same", other, s)
	}
}

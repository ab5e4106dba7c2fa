// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestSharedClaim_worksOnTwoNodes(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := env.CreateClaim(t, ns, framework.NewClaim("test-claim", "one", "two"))
	var spaces []framework.Space
	for i, pod := range []string{"pod0", "pod1"} {
		env.CreatePod(t, ns, framework.On(env.Node(i), framework.NewPod(pod, "test-claim")))
		one, two := env.SpaceOf(t, ns, pod, "test-claim_one"), env.SpaceOf(t, ns, pod, "test-claim_two")
		one.CheckUsable(t, ns, pod)
		two.CheckUsable(t, ns, pod)
		spaces = append(spaces, one, two)
		if !slices.ContainsFunc(env.FilesOf(t, claim.UID), func(file framework.NodeFile) bool { return file.Node == env.Node(i) }) {
			t.Errorf("%s has no files of a claim that is in use there", env.Node(i))
		}
	}
	if spaces[0] != spaces[2] || spaces[1] != spaces[3] {
		t.Errorf("the pods have different spaces: %v", spaces)
	}
	spaces[0].Kubectl(t, ns, "pod1", "get", "configmap", "from-pod0")

	env.Kubectl(t, "delete", "-n", ns, "pod/pod0", "pod/pod1", "resourceclaim/test-claim")
	for _, s := range spaces {
		env.AwaitNamespaceDeleted(t, s.Namespace)
	}
	env.CheckNoFilesOf(t, claim.UID)
}

func TestCredentials_areReadableByAnyUser(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
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
	s := env.Use(t, ns, framework.NewClaim("test-claim"), pod)
	s.Kubectl(t, ns, "pod", "--cache-dir=/dev/shm", "create", "configmap", "from-unprivileged")
	if out, err := env.TryExec(t.Context(), ns, "pod", "sh", "-c", "echo x > /etc/test-claim/token"); err == nil {
		t.Errorf("a container can write the token: %s", out)
	}
}

func TestPresetNode_sharesAnAllocatedClaim(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	other := env.Use(t, ns, framework.NewClaim("test-claim"), framework.On(env.Node(0), framework.NewPod("scheduled", "test-claim")))
	preset := framework.NewPod("preset", "test-claim")
	preset.Spec.NodeName = env.Node(1)
	env.CreatePod(t, ns, preset)

	s := env.SpaceOf(t, ns, "preset", "test-claim")
	s.CheckUsable(t, ns, "preset")
	if other != s {
		t.Errorf("the pods have %v and %v, want the same", other, s)
	}
}

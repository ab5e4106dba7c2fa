// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestExtendedResource_replacesADeletedClaim has a pod that cannot be bound. The scheduler deletes the
// claim that it created, and creates another one at the next attempt.
func TestExtendedResource_replacesADeletedClaim(t *testing.T) {
	t.Parallel()
	env.Requires(t, "1.36", "an extended resource")
	ns := env.Namespace(t)
	const extendedResource = "space.resource.example.com/replaced-claim"
	class := classOf("replaced-claim", spaceapi.DefaultDriverName, "")
	class.Spec.ExtendedResourceName = ptr.To[string](extendedResource)
	createClass(t, class)
	allowBinding := denyBinding(t, ns)

	extended := framework.NewPod("pod")
	extended.Spec.Containers[0].Resources.Limits = corev1.ResourceList{extendedResource: resource.MustParse("1")}
	env.StartPod(t, ns, extended)
	// The space may or may not become ready before the claim is deleted.
	first := framework.AwaitAny(t, env.Client.ResourceV1().RESTClient(), "resourceclaims", ns, allocated())
	awaitClaimDeleted(t, ns, first.Name)

	allowBinding()
	pod := awaitExtendedPod(t, ns)
	second := framework.Await(t, framework.Claim(env.Client, ns, pod.Status.ExtendedResourceClaimStatus.ResourceClaimName), framework.SpacesReady(1))
	if second.UID == first.UID {
		t.Fatal("the claim was not replaced")
	}
	s := env.SpaceOf(t, ns, "pod", "space")
	s.CheckUsable(t, ns, "pod")
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
	env.AwaitNoSpaceOf(t, first.UID)
	env.CheckNoFilesOf(t, first.UID)
	env.AwaitNoFilesOf(t, second.UID)
}

// awaitExtendedPod waits until the pod with the extended resource is ready, and has the status that the
// scheduler writes at the same time as the binding.
func awaitExtendedPod(t *testing.T, ns string) *corev1.Pod {
	t.Helper()
	return framework.Await(t, framework.Pod(env.Client, ns, "pod"), framework.That("ready, with the claim of its extended resource", func(pod *corev1.Pod) bool {
		return framework.PodReady().Holds(pod) && pod.Status.ExtendedResourceClaimStatus != nil
	}))
}

func TestExtendedResource_isASpaceForEachContainer(t *testing.T) {
	t.Parallel()
	env.Requires(t, "1.36", "an extended resource")
	ns := env.Namespace(t)
	const extendedResource = "space.resource.example.com/per-container"
	class := classOf("per-container", spaceapi.DefaultDriverName, "")
	class.Spec.ExtendedResourceName = ptr.To[string](extendedResource)
	createClass(t, class)
	pod := framework.NewPod("pod")
	first := &pod.Spec.Containers[0]
	first.Resources.Limits = corev1.ResourceList{extendedResource: resource.MustParse("1")}
	second := *first.DeepCopy()
	second.Name = "second"
	pod.Spec.Containers = append(pod.Spec.Containers, second)
	env.CreatePod(t, ns, pod)

	created := awaitExtendedPod(t, ns)
	spaces := sets.New[string]()
	for _, mapping := range created.Status.ExtendedResourceClaimStatus.RequestMappings {
		spaces.Insert(env.SpaceOf(t, ns, "pod/"+mapping.ContainerName, "space-"+mapping.RequestName).Namespace)
	}
	if len(spaces) != 2 {
		t.Errorf("the two containers have the spaces %v, want two", spaces)
	}
}

// denyBinding creates a policy that denies bindings of pods in the namespace, until allow is called.
func denyBinding(t *testing.T, ns string) (allow func()) {
	t.Helper()
	const policy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s-unbound}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods/binding]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
  validations: [{expression: "false", message: bindings are denied}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s-unbound}
spec: {policyName: %[1]s-unbound, validationActions: [Deny]}
`
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, policy, ns), 0o600); err != nil {
		t.Fatal(err)
	}
	allow = func() {
		if out, err := env.TryKubectl(context.Background(), "delete", "--ignore-not-found", "-f", file); err != nil {
			t.Errorf("delete the policy: %v: %s", err, out)
		}
	}
	t.Cleanup(allow)
	env.Kubectl(t, "apply", "-f", file)

	env.StartPod(t, ns, framework.On("no-such-node", framework.NewPod("probe")))
	framework.AwaitDenied(t, "a binding", func(ctx context.Context) error {
		return env.Client.CoreV1().Pods(ns).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Target: corev1.ObjectReference{Kind: "Node", Name: env.Node(0)},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}, "bindings are denied")
	return allow
}

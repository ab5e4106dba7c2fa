// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// newExtendedPod is a pod that knows nothing of claims.
func newExtendedPod(name, extendedResource string) *corev1.Pod {
	pod := framework.NewPod(name)
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceName(extendedResource): resource.MustParse("1")}
	return pod
}

// extendedClaim waits for a claim that the scheduler created and allocated for a pod.
func extendedClaim(t *testing.T, ns, pod string) *resourceapi.ResourceClaim {
	t.Helper()
	return framework.AwaitAny(t, env.Client.ResourceV1().RESTClient(), "resourceclaims", ns, framework.That("the pod's, and allocated", func(c *resourceapi.ResourceClaim) bool {
		return strings.HasPrefix(c.Name, pod+"-extended-resources-") && c.Status.Allocation != nil
	}))
}

// A pod that cannot be bound loses the claim that the scheduler created for it,
// and gets another one at the next attempt.
func TestExtendedResource_replacesADeletedClaim(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	const extendedResource = "space.resource.example.com/taken-back"
	class := classOf("taken-back", spaceapi.DefaultDriverName, spaceapi.SpaceClassConfigKind, "")
	class.Spec.ExtendedResourceName = ptr.To(extendedResource)
	createClass(t, class)
	allowBinding := forbidBinding(t, ns)

	env.StartPod(t, ns, newExtendedPod("pod", extendedResource))
	// Whether the space has become ready by the time the claim goes is a matter
	// of milliseconds: it may have come to be afterwards.
	first := extendedClaim(t, ns, "pod")
	awaitClaimGone(t, ns, first.Name)

	allowBinding()
	pod := framework.Await(t, framework.Pod(env.Client, ns, "pod"), framework.PodReady())
	second := framework.Await(t, framework.Claim(env.Client, ns, pod.Status.ExtendedResourceClaimStatus.ResourceClaimName), framework.SpacesReady(1))
	if second.UID == first.UID {
		t.Fatal("the claim is still the first: this test shows nothing")
	}
	s := env.SpaceOf(t, ns, "pod", "SPACE")
	s.Usable(t, ns, "pod")
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceGone(t, s.Namespace)
	env.AwaitNoSpaceOf(t, first.UID)
	env.NoTraceOf(t, first.UID)
	env.AwaitNoTraceOf(t, second.UID)
}

// forbidBinding makes the API server refuse to bind pods in the namespace, until
// the returned function has been called.
func forbidBinding(t *testing.T, ns string) (allow func()) {
	t.Helper()
	const words = "pods of this test stay unbound"
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: ns + "-unbound"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/binding"}},
				}}},
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
			},
			Validations: []admissionv1.Validation{{Expression: "false", Message: words}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policy.Name,
			ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	api := env.Client.AdmissionregistrationV1()
	if _, err := api.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	allow = sync.OnceFunc(func() {
		if err := errors.Join(
			api.ValidatingAdmissionPolicyBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{}),
			api.ValidatingAdmissionPolicies().Delete(context.Background(), policy.Name, metav1.DeleteOptions{}),
		); err != nil {
			t.Errorf("allow bindings again: %v", err)
		}
	})
	t.Cleanup(allow)

	env.StartPod(t, ns, framework.On("no-such-node", framework.NewPod("probe")))
	framework.AwaitDenied(t, "a binding", func(ctx context.Context) error {
		return env.Client.CoreV1().Pods(ns).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Target: corev1.ObjectReference{Kind: "Node", Name: env.Node(0)},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}, words)
	return allow
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"maps"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The webhook of Rancher denies labels for Pod Security to clients without a permission of its own.
func TestExtraRules_satisfyAPolicyWithoutARestart(t *testing.T) {
	const release, driver, denial = "extra-rights", "extra-rights.example.com", "this user may not set Pod Security of projects"
	ns := env.Namespace(t)
	values := map[string]string{"driverName": driver}
	startController(t, env, releaseOf(t, release, ns, values, "rbac-controller.yaml")...)
	denyPodSecurity(t, ns, release+"-space-dra-driver-controller", denial)
	newNode(t, env, "extra-rights-node", nil)
	pod := bind(t, createPod(t, ns, framework.NewPod("pod")), "extra-rights-node")
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, driver, ns, "claim", usedBy(pod))

	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.NotReadyBecause(spaceapi.ReasonProvisioningFailed, denial))
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonProvisioningFailed, denial)
	awaitEvent(t, ns, "Pod", "pod", spaceapi.ReasonProvisioningFailed, denial)

	extra := maps.Clone(values)
	for field, value := range map[string]string{"apiGroups": "management.cattle.io", "resources": "projects", "verbs": "updatepsa"} {
		extra["rbac.controllerRole.extraRules[0]."+field+"[0]"] = value
	}
	applyChart(t, release, ns, extra, "rbac-controller.yaml")
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))
	deallocate(t, env, ns, "claim")
}

// denyPodSecurity lets a policy deny namespaces with labels for Pod Security to a ServiceAccount
// without a permission. It waits until the policy is in effect.
func denyPodSecurity(t *testing.T, namespace, account, denial string) {
	t.Helper()
	name, user := "pod-security-of-"+account, "system:serviceaccount:"+namespace+":"+account
	policies := env.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	bindings := env.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	rule := admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"namespaces"}},
	}}
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	policy.Spec.FailurePolicy = ptr.To(admissionv1.Fail)
	policy.Spec.MatchConstraints = &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{rule}}
	policy.Spec.MatchConditions = []admissionv1.MatchCondition{{Name: "user", Expression: fmt.Sprintf("request.userInfo.username == '%s'", user)}}
	policy.Spec.Validations = []admissionv1.Validation{{
		Message: denial,
		Expression: `!object.metadata.?labels.orValue({}).exists(label, label.startsWith('pod-security.kubernetes.io/')) ||
			authorizer.group('management.cattle.io').resource('projects').check('updatepsa').allowed()`,
	}}
	if _, err := policies.Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	binding.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}}
	if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := env.TryKubectl(context.Background(), "delete", "validatingadmissionpolicies,validatingadmissionpolicybindings", name); err != nil {
			t.Errorf("delete the policy: %v: %s", err, out)
		}
	})
	labelled := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}}}
	namespaces := env.As(t, namespace, account).CoreV1().Namespaces()
	framework.AwaitDenied(t, "a namespace with the label", func(ctx context.Context) error {
		_, err := namespaces.Create(ctx, labelled, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}, denial)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"maps"
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestExtraRules_takeEffectWithoutARestart has a policy like the webhook of Rancher, which denies
// labels for Pod Security to clients that lack a permission.
func TestExtraRules_takeEffectWithoutARestart(t *testing.T) {
	const release, driver, denial = "extra-rules", "extra-rules.example.com", "this user may not set Pod Security of projects"
	ns := env.Namespace(t)
	values := map[string]string{"driverName": driver}
	startController(t, env, releaseOf(t, release, ns, values, "rbac-controller.yaml")...)
	denyPodSecurity(t, ns, release+"-space-dra-driver-controller", denial)
	newNode(t, env, "extra-rules-node", nil)
	pod := bind(t, createPod(t, ns, framework.NewPod("pod")), "extra-rules-node")
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocateTo(t, driver, ns, "claim", reservedFor(pod))

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

// denyPodSecurity creates a policy that denies namespaces with labels for Pod Security to a
// ServiceAccount without a permission, and waits until it is in effect.
func denyPodSecurity(t *testing.T, namespace, account, denial string) {
	t.Helper()
	const policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
	name := "pod-security-of-" + account
	for path, body := range map[string]string{
		"ies": `{"metadata":{"name":"` + name + `"},"spec":{"failurePolicy":"Fail",
			"matchConstraints":{"resourceRules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["namespaces"]}]},
			"matchConditions":[{"name":"user","expression":"request.userInfo.username == 'system:serviceaccount:` + namespace + ":" + account + `'"}],
			"validations":[{"message":"` + denial + `","expression":"!object.metadata.?labels.orValue({}).exists(label, label.startsWith('pod-security.kubernetes.io/')) || authorizer.group('management.cattle.io').resource('projects').check('updatepsa').allowed()"}]}}`,
		"ybindings": `{"metadata":{"name":"` + name + `"},"spec":{"policyName":"` + name + `","validationActions":["Deny"]}}`,
	} {
		if err := post(policies+path, body).Stored().By(env.Client)(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if out, err := env.TryKubectl(context.Background(), "delete", "validatingadmissionpolicies,validatingadmissionpolicybindings", name); err != nil {
			t.Errorf("delete the policy: %v: %s", err, out)
		}
	})
	namespaceWithLabel := post(namespacePath(""), `{"metadata":{"name":"`+name+`","labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`)
	framework.AwaitDenied(t, "a namespace with the label", namespaceWithLabel.By(env.As(t, namespace, account)), denial)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// openPolicy allows all traffic out.
func openPolicy(name string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{}},
		},
	}
}

func staysIsolated(t *testing.T) {
	const opening, changing = "traffic between its own pods", "NetworkPolicy space"
	ns := env.Namespace(t)
	_, spaces := standing(t, env, ns, "claim")
	space := spaces[0]
	client := tenant(t, space)
	policies := client.NetworkingV1().NetworkPolicies(space.Namespace)
	all, isolation := framework.NetworkPolicyPath(space.Namespace, ""), framework.NetworkPolicyPath(space.Namespace, spaceapi.ObjectName)
	peer := func(p networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
		policy := openPolicy("own")
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{p}}}
		policy.Spec.Egress[0].To = []networkingv1.NetworkPolicyPeer{p}
		return policy
	}
	everything := &metav1.LabelSelector{}
	denied(t, client,
		denial{"let all namespaces in", post(all, framework.JSON(peer(networkingv1.NetworkPolicyPeer{PodSelector: everything, NamespaceSelector: everything}))), opening},
		denial{"reach an address", post(all, framework.JSON(peer(networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}))), opening},
		denial{"delete all policies", remove(all), changing},
		denial{"change the isolation", patch(isolation, set("labels", "a", "b")), changing},
	)
	own, err := policies.Create(t.Context(), peer(networkingv1.NetworkPolicyPeer{PodSelector: everything}), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("a policy for its own pods: %v", err)
	}
	own.Spec.Egress[0].To = nil
	_, err = policies.Update(t.Context(), own, metav1.UpdateOptions{})
	framework.CheckDenied(t, "open the network later", err, opening)
	if err := policies.Delete(t.Context(), own.Name, metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete its own policy: %v", err)
	}
	deallocate(t, env, ns, "claim")
}

func ownBindingsOnly(t *testing.T) {
	const words = "ClusterRoleBindings of spaces"
	env.Kubectl(t, "create", "clusterrolebinding", "foreign", "--clusterrole=node-reader")
	t.Cleanup(func() { _, _ = env.TryKubectl(context.Background(), "delete", "clusterrolebinding", "foreign") })
	binding := func(labels, subject string) framework.Call {
		return post(framework.ClusterRoleBindings, `{"metadata":{"name":"made","labels":{`+labels+`}},
			"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"node-reader"},"subjects":[`+subject+`]}`)
	}
	denied(t, env.As(t, framework.DriverNamespace, "contents-space-dra-driver-controller"),
		denial{"delete one", remove(framework.ClusterRoleBindings + "/foreign"), words},
		denial{"create one", binding("", ""), words},
		denial{"create one for another user", binding(`"`+framework.ClaimUIDLabel+`":"uid"`, `{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}`), "the ServiceAccounts of spaces"},
	)
}

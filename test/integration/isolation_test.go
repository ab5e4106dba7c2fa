// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

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

// awaitDenied tries until it is denied in these words: nothing tells when the API
// server follows a new admission policy, or what a policy looks at.
func awaitDenied(t *testing.T, what string, try func(ctx context.Context) error, words string) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, framework.Patience, true, func(ctx context.Context) (bool, error) {
		last = try(ctx)
		return (apierrors.IsForbidden(last) || apierrors.IsInvalid(last)) && strings.Contains(last.Error(), words), nil
	}); err != nil {
		t.Fatalf("%s was never denied with the words %q; the last answer: %v", what, words, last)
	}
}

// denied checks that an admission policy denied something, in its words.
func denied(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: got error %v, want one with the words %q", what, err, words)
	}
}

var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}

func staysIsolated(t *testing.T) {
	const opening, changing = "traffic between its own pods", "NetworkPolicy space"
	ns := env.Namespace(t)
	_, spaces := framework.Standing(t, env, ns, "claim")
	space := spaces[0]
	policies := tenant(t, space).NetworkingV1().NetworkPolicies(space.Namespace)
	awaitDenied(t, "opening it", func(ctx context.Context) error {
		_, err := policies.Create(ctx, openPolicy("own"), dryRun)
		return err
	}, opening)
	awaitDenied(t, "deleting the isolation", func(ctx context.Context) error {
		return policies.Delete(ctx, spaceapi.ObjectName, dryDelete)
	}, changing)

	peer := func(p networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
		policy := openPolicy("own")
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{p}}}
		policy.Spec.Egress[0].To = []networkingv1.NetworkPolicyPeer{p}
		return policy
	}
	everybody := &metav1.LabelSelector{}
	for what, policy := range map[string]*networkingv1.NetworkPolicy{
		"letting all namespaces in": peer(networkingv1.NetworkPolicyPeer{PodSelector: everybody, NamespaceSelector: everybody}),
		"reaching an address":       peer(networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}),
	} {
		_, err := policies.Create(t.Context(), policy, metav1.CreateOptions{})
		denied(t, what, err, opening)
	}
	own, err := policies.Create(t.Context(), peer(networkingv1.NetworkPolicyPeer{PodSelector: everybody}), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("a policy for its own pods: %v", err)
	}
	own.Spec.Egress[0].To = nil
	_, err = policies.Update(t.Context(), own, metav1.UpdateOptions{})
	denied(t, "opening it later", err, opening)
	if err := policies.Delete(t.Context(), own.Name, metav1.DeleteOptions{}); err != nil {
		t.Errorf("deleting its own policy: %v", err)
	}
	denied(t, "deleting the isolation", policies.Delete(t.Context(), spaceapi.ObjectName, metav1.DeleteOptions{}), changing)
	denied(t, "deleting all", policies.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}), changing)
	_, err = policies.Patch(t.Context(), spaceapi.ObjectName, types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	denied(t, "changing the isolation", err, changing)
	framework.Deallocate(t, env, ns, "claim")
}

func ownBindingsOnly(t *testing.T) {
	foreign := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "foreign"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "node-reader"},
	}
	if _, err := env.Client.RbacV1().ClusterRoleBindings().Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bindings := env.As(t, framework.DriverNamespace, controllerAccount).RbacV1().ClusterRoleBindings()
	const words = "ClusterRoleBindings of spaces"
	making := func(binding *rbacv1.ClusterRoleBinding) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := bindings.Create(ctx, binding, dryRun)
			return err
		}
	}
	made := foreign.DeepCopy()
	made.Name = "made"
	others := made.DeepCopy()
	others.Labels = map[string]string{framework.ClaimUIDLabel: "uid"}
	others.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "eve"}}
	allDenied(t,
		try{"deleting one", func(ctx context.Context) error { return bindings.Delete(ctx, "foreign", dryDelete) }, words},
		try{"making one", making(made), words},
		try{"making one for somebody else", making(others), "the ServiceAccounts of spaces"},
	)
}

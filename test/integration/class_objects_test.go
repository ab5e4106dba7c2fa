// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func clusterWide(t *testing.T) {
	ns := env.Namespace(t)
	space := standingWith(t, ns, `"clusterWideRoles":["node-reader"]`)
	client := tenant(t, space)
	nodes := func(ctx context.Context) error {
		_, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err
	}
	if err := nodes(t.Context()); err != nil {
		t.Errorf("the first request: %v", err)
	}
	namespace, err := env.Client.CoreV1().Namespaces().Get(t.Context(), space.Namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bindings := env.Client.RbacV1().ClusterRoleBindings()
	name := space.Namespace + ":node-reader"
	binding, err := bindings.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(binding.OwnerReferences) != 1 || binding.OwnerReferences[0].UID != namespace.UID || binding.Labels[spaceapi.KeysFor(spaceapi.DefaultDriverName).ClaimUID] == "" {
		t.Errorf("the binding has owners %v and labels %v", binding.OwnerReferences, binding.Labels)
	}

	if err := bindings.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := framework.AwaitAny(t, env.Client.RbacV1().RESTClient(), "clusterrolebindings", "", framework.That("called "+name+" and recreated", func(b *rbacv1.ClusterRoleBinding) bool {
		return b.Name == name && b.UID != binding.UID
	}))
	again.Subjects[0].Namespace = "kube-system"
	if _, err := bindings.Update(t.Context(), again, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitAny(t, env.Client.RbacV1().RESTClient(), "clusterrolebindings", "", framework.That("called "+name+" and for the space", func(b *rbacv1.ClusterRoleBinding) bool {
		return b.Name == name && slices.Equal(b.Subjects, binding.Subjects)
	}))

	// The rights are revoked although the namespace is not deleted.
	release := hold(t, space.Namespace)
	framework.Deallocate(t, env, ns, "claim")
	framework.Await(t, framework.Namespace(env.Client, space.Namespace), terminating())
	if _, err := bindings.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the binding of a deprovisioned space: %v", err)
	}
	framework.AwaitRefused(t, "a request with the token of a deprovisioned space", nodes)
	release()
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space.Namespace))
}

func keptLimits(t *testing.T) {
	ns := env.Namespace(t)
	space := standingWith(t, ns, `"resourceQuota":{"hard":{"pods":"4"}},"limitRange":{"limits":[{"type":"Container","max":{"cpu":"1"},"min":{"cpu":"10m"}}]}`)
	policies := env.Client.NetworkingV1().NetworkPolicies(space.Namespace)
	asMade := policyIn(t, space.Namespace)

	if err := policies.Delete(t.Context(), spaceapi.ObjectName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitPolicy := func(words string, is func(*networkingv1.NetworkPolicy) bool) *networkingv1.NetworkPolicy {
		return framework.AwaitAny(t, env.Client.NetworkingV1().RESTClient(), "networkpolicies", space.Namespace,
			framework.That("called space and "+words, func(p *networkingv1.NetworkPolicy) bool { return p.Name == spaceapi.ObjectName && is(p) }))
	}
	again := awaitPolicy("recreated", func(p *networkingv1.NetworkPolicy) bool { return p.UID != asMade.UID })
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("ResourceClaim", "claim", spaceapi.ReasonDriftCorrected, "NetworkPolicy space"))
	again.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	changed, err := policies.Update(t.Context(), again, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitPolicy("restored", func(p *networkingv1.NetworkPolicy) bool {
		return p.ResourceVersion != changed.ResourceVersion && equality.Semantic.DeepEqual(p.Spec, asMade.Spec)
	})

	// Tenants cannot change the others; an administrator may do so by mistake.
	client := tenant(t, space)
	err = client.CoreV1().ResourceQuotas(space.Namespace).Delete(t.Context(), spaceapi.ObjectName, metav1.DeleteOptions{})
	framework.CheckDenied(t, "a tenant who deletes the quota", err, "cannot delete")
	err = client.CoreV1().LimitRanges(space.Namespace).Delete(t.Context(), spaceapi.ObjectName, metav1.DeleteOptions{})
	framework.CheckDenied(t, "a tenant who deletes the limits", err, "cannot delete")
	quota := quotaInForce(t, space.Namespace)
	ranges, err := env.Client.CoreV1().LimitRanges(space.Namespace).Get(t.Context(), spaceapi.ObjectName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	env.Kubectl(t, "delete", "resourcequota/space", "limitrange/space", "-n", space.Namespace)
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "resourcequotas", space.Namespace, framework.That("recreated", func(q *corev1.ResourceQuota) bool {
		return q.UID != quota.UID && equality.Semantic.DeepEqual(q.Spec, quota.Spec)
	}))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "limitranges", space.Namespace, framework.That("recreated", func(l *corev1.LimitRange) bool {
		return l.UID != ranges.UID && equality.Semantic.DeepEqual(l.Spec, ranges.Spec)
	}))
	patch := []byte(`{"spec":{"hard":{"pods":"400"}}}`)
	if _, err := env.Client.CoreV1().ResourceQuotas(space.Namespace).Patch(t.Context(), spaceapi.ObjectName, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "resourcequotas", space.Namespace, framework.That("restored", func(q *corev1.ResourceQuota) bool {
		return equality.Semantic.DeepEqual(q.Spec, quota.Spec)
	}))
	framework.Deallocate(t, env, ns, "claim")
}

func copied(t *testing.T, templates string) {
	ns := env.Namespace(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"k": "v"}, BinaryData: map[string][]byte{"b": {0, 1}}}
	if _, err := env.Client.CoreV1().ConfigMaps(templates).Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pull := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull", Annotations: map[string]string{"note": "x"}, Labels: map[string]string{"note": "x"}},
		Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
	}
	allocatedWith(t, ns, `"copyFrom":{"namespace":"`+templates+`","configMaps":[{"name":"settings"}],"imagePullSecrets":[{"name":"pull"}]}`)
	framework.Await(t, framework.Claim(env.Client, ns, "claim"),
		framework.NotReadyBecause(spaceapi.ReasonProvisioningFailed, "copy Secret "+templates+"/pull to namespace "))
	if _, err := env.Client.CoreV1().Secrets(templates).Create(t.Context(), pull, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, spaces := framework.SpacesOf(t, env, ns, "claim", 1)
	space := spaces[0]
	client := tenant(t, space)
	gotConfig, err := client.CoreV1().ConfigMaps(space.Namespace).Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil || !maps.Equal(gotConfig.Data, config.Data) || !equality.Semantic.DeepEqual(gotConfig.BinaryData, config.BinaryData) {
		t.Errorf("the copy of the ConfigMap: %+v, %v", gotConfig, err)
	}
	gotPull, err := client.CoreV1().Secrets(space.Namespace).Get(t.Context(), "pull", metav1.GetOptions{})
	if err != nil || gotPull.Type != pull.Type || !equality.Semantic.DeepEqual(gotPull.Data, pull.Data) || gotPull.Annotations["note"] != "" || gotPull.Labels["note"] != "" {
		t.Errorf("the copy of the Secret: %+v, %v", gotPull, err)
	}
	for _, account := range []string{"default", "space"} {
		pod := framework.NewPod("with-" + account)
		pod.Spec.ServiceAccountName = account
		// Admission knows the ServiceAccount by a watch.
		framework.AwaitAllowed(t, "a pod with ServiceAccount "+account+", which pulls with the copy,", func(ctx context.Context) error {
			made, err := client.CoreV1().Pods(space.Namespace).Create(ctx, pod, dryRun)
			if err == nil && !slices.Equal(made.Spec.ImagePullSecrets, []corev1.LocalObjectReference{{Name: "pull"}}) {
				return fmt.Errorf("it pulls with %v", made.Spec.ImagePullSecrets)
			}
			return err
		})
	}
	framework.Deallocate(t, env, ns, "claim")
}

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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// object has the metadata of an object of a Kubernetes API.
type object interface {
	runtime.Object
	metav1.Object
}

// checkRestored deletes an object, then changes it with a merge patch. It waits each time until the
// controller has restored the contents.
func checkRestored[T object](t *testing.T, api rest.Interface, resource, namespace, name, change string, contents func(T) any) {
	t.Helper()
	find := func(words string, is func(T) bool) T {
		t.Helper()
		return framework.AwaitAny(t, api, resource, namespace, framework.That(name+" "+words, func(o T) bool { return o.GetName() == name && is(o) }))
	}
	original := find("created", func(T) bool { return true })
	same := func(o T) bool { return equality.Semantic.DeepEqual(contents(o), contents(original)) }
	env.Kubectl(t, "delete", resource, name, "-n", namespace)
	recreated := find("recreated", func(o T) bool { return o.GetUID() != original.GetUID() && same(o) })
	env.Kubectl(t, "patch", resource, name, "-n", namespace, "--type=merge", "-p", change)
	find("restored", func(o T) bool { return o.GetResourceVersion() != recreated.GetResourceVersion() && same(o) })
}

// testRestoredObjects deletes and changes each object that an administrator may change by mistake.
func testRestoredObjects(t *testing.T) {
	ns := env.Namespace(t)
	space := readyClaimWith(t, ns, `"clusterWideRoles":["node-reader"],"resourceQuota":{"hard":{"pods":"4"}},"limitRange":{"limits":[{"type":"Container","max":{"cpu":"1"},"min":{"cpu":"10m"}}]}`).Namespace
	core, rbac := env.Client.CoreV1().RESTClient(), env.Client.RbacV1().RESTClient()
	checkRestored(t, env.Client.NetworkingV1().RESTClient(), "networkpolicies", space, spaceapi.ObjectName, `{"spec":{"egress":[{}]}}`, func(p *networkingv1.NetworkPolicy) any { return p.Spec })
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonRestored, "NetworkPolicy space")
	checkRestored(t, core, "resourcequotas", space, spaceapi.ObjectName, `{"spec":{"hard":{"pods":"400"}}}`, func(q *corev1.ResourceQuota) any { return q.Spec })
	checkRestored(t, core, "limitranges", space, spaceapi.ObjectName, `{"spec":{"limits":[{"type":"Container","max":{"cpu":"2"}}]}}`, func(l *corev1.LimitRange) any { return l.Spec })
	checkRestored(t, rbac, "rolebindings", space, spaceapi.RoleBindingName, `{"subjects":null}`, func(b *rbacv1.RoleBinding) any { return b.Subjects })
	checkRestored(t, rbac, "clusterrolebindings", "", space+":node-reader", `{"subjects":null}`, func(b *rbacv1.ClusterRoleBinding) any { return b.Subjects })
	deallocate(t, env, ns, "claim")
}

func testClusterWideRoles(t *testing.T) {
	ns := env.Namespace(t)
	space := readyClaimWith(t, ns, `"clusterWideRoles":["node-reader"]`)
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
	bindings, name := env.Client.RbacV1().ClusterRoleBindings(), space.Namespace+":node-reader"
	binding, err := bindings.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(binding.OwnerReferences) != 1 || binding.OwnerReferences[0].UID != namespace.UID || binding.Labels[framework.ClaimUIDLabel] == "" {
		t.Errorf("the binding has owners %v and labels %v", binding.OwnerReferences, binding.Labels)
	}

	// The permissions are revoked although the namespace still exists.
	release := blockDeletion(t, env, space.Namespace)
	deallocate(t, env, ns, "claim")
	framework.Await(t, framework.Namespace(env.Client, space.Namespace), terminating())
	if _, err := bindings.Get(t.Context(), name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the binding of a deprovisioned space: %v", err)
	}
	framework.AwaitDenied(t, "a request with the token of a deprovisioned space", nodes)
	release()
	env.AwaitNamespaceDeleted(t, space.Namespace)
}

func testCopyFrom(t *testing.T, originals string) {
	ns := env.Namespace(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"k": "v"}, BinaryData: map[string][]byte{"b": {0, 1}}}
	if _, err := env.Client.CoreV1().ConfigMaps(originals).Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pull := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull", Annotations: map[string]string{"note": "x"}, Labels: map[string]string{"note": "x"}},
		Type:       corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
	}
	env.CreateClaim(t, ns, framework.NewClaim("claim"))
	allocate(t, env, ns, "claim", framework.WithClassConfig(`"copyFrom":{"namespace":"`+originals+`","configMaps":[{"name":"settings"}],"imagePullSecrets":[{"name":"pull"}]}`))
	framework.Await(t, framework.Claim(env.Client, ns, "claim"),
		framework.NotReadyBecause(spaceapi.ReasonProvisioningFailed, "copy Secret "+originals+"/pull to namespace "))
	if _, err := env.Client.CoreV1().Secrets(originals).Create(t.Context(), pull, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, spaces := spacesOf(t, env, ns, "claim", 1)
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
		// Admission learns of the ServiceAccount by a watch.
		framework.AwaitAllowed(t, "a pod with ServiceAccount "+account, func(ctx context.Context) error {
			created, err := client.CoreV1().Pods(space.Namespace).Create(ctx, pod, dryRun)
			if err == nil && !slices.Equal(created.Spec.ImagePullSecrets, []corev1.LocalObjectReference{{Name: "pull"}}) {
				return fmt.Errorf("the pull Secrets are %v", created.Spec.ImagePullSecrets)
			}
			return err
		})
	}
	// A change of the claim makes the controller compare copies, as a resync does.
	changeClaim := func(pod string) {
		t.Helper()
		reserve(t, "claim", createPod(t, ns, framework.NewPod(pod)))
	}
	env.Kubectl(t, "label", "secret", "pull", "-n", space.Namespace, "example.com/other=x")
	env.Kubectl(t, "delete", "configmap", "settings", "-n", space.Namespace)
	env.Kubectl(t, "patch", "secret", "pull", "-n", originals, "--type=merge", "-p", `{"stringData":{".dockerconfigjson":"{\"auths\":{\"registry\":{}}}"}}`)
	changeClaim("first")
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "configmaps", space.Namespace, framework.That("copied again", func(c *corev1.ConfigMap) bool {
		return c.Name == "settings" && maps.Equal(c.Data, config.Data)
	}))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "secrets", space.Namespace, framework.That("like the original", func(s *corev1.Secret) bool {
		return s.Name == "pull" && string(s.Data[corev1.DockerConfigJsonKey]) == `{"auths":{"registry":{}}}` && s.Labels["example.com/other"] == "x"
	}))
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonRestored, "ConfigMap settings")
	// Without the label, the object is no longer a copy.
	env.Kubectl(t, "label", "configmap", "settings", "-n", space.Namespace, framework.ClaimUIDLabel+"-")
	changeClaim("second")
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonCopyFailed, "that it has copied")
	deallocate(t, env, ns, "claim")
}

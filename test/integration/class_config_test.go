// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestClassConfig_appliesToTheSpacesOfTheClass(t *testing.T) {
	env.Kubectl(t, "create", "clusterrole", "node-reader", "--verb=list", "--resource=nodes")
	t.Cleanup(func() { _, _ = env.TryKubectl(context.Background(), "delete", "clusterrole", "node-reader") })
	originals := env.Namespace(t)
	startController(t, env, releaseOf(t, "contents", framework.DriverNamespace, map[string]string{
		"space.allowedClusterRoles": "{admin}",
		"space.clusterWideRoles":    "{node-reader}",
		"space.allowedPodSecurity":  "{privileged}",
		"space.copyFromNamespaces":  "{" + originals + "}",
	}, "rbac-controller.yaml", "admission-spaces.yaml", "admission-nested.yaml", "admission-controller.yaml")...)
	t.Run("quota and limits", testQuotaAndLimits)
	t.Run("labels, annotations, prefix and Pod Security", testMetadata)
	t.Run("open network, nested spaces and privileged pods", testOpenNetwork)
	t.Run("clusterRoles", testClusterRoles)
	t.Run("nested spaces of an unknown class", testNestedSpaces)
	t.Run("clusterWideRoles", testClusterWideRoles)
	t.Run("access", testAccess)
	t.Run("copyFrom", func(t *testing.T) { testCopyFrom(t, originals) })
	t.Run("admin access", testAdminAccess)
	t.Run("objects are restored", testRestoredObjects)
	t.Run("tenants cannot open the network", testNetworkPolicies)
	t.Run("controller writes ClusterRoleBindings of spaces only", testClusterRoleBindings)
}

// tenant returns a client with a token of a space.
func tenant(t *testing.T, space spaceapi.SpaceStatus) kubernetes.Interface {
	t.Helper()
	return env.As(t, space.Namespace, space.ServiceAccount)
}

// nestedDenied is part of each error about a nested space.
const nestedDenied = "allowNestedSpaces"

func testQuotaAndLimits(t *testing.T) {
	ns := env.Namespace(t)
	space := readyClaimWith(t, ns, `"resourceQuota":{"hard":{"pods":"1","requests.cpu":"1"}},"limitRange":{"limits":[{"type":"Container","default":{"cpu":"200m"},"max":{"cpu":"500m"}}]}`)
	// Kubernetes enforces a quota when its status has the limits.
	quota, err := env.Client.CoreV1().ResourceQuotas(space.Namespace).Get(t.Context(), spaceapi.ObjectName, metav1.GetOptions{})
	if err != nil || len(quota.Spec.Hard) == 0 || !equality.Semantic.DeepEqual(quota.Status.Hard, quota.Spec.Hard) {
		t.Errorf("the space is Ready before its quota is enforced (error: %v): %+v", err, quota)
	}
	pods := tenant(t, space).CoreV1().Pods(space.Namespace)
	// Admission learns of the quota by a watch.
	many := framework.NewPod("many")
	for i := range 5 {
		many.Spec.InitContainers = append(many.Spec.InitContainers, many.Spec.Containers[0])
		many.Spec.InitContainers[i].Name = fmt.Sprintf("init-%d", i)
		many.Spec.InitContainers[i].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	}
	framework.AwaitDenied(t, "a pod whose containers exceed the quota", func(ctx context.Context) error {
		_, err := pods.Create(ctx, many, dryRun)
		return err
	}, "exceeded quota: space")

	large := framework.NewPod("large")
	large.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1")}
	_, err = pods.Create(t.Context(), large, metav1.CreateOptions{})
	framework.CheckDenied(t, "a container that exceeds the limit", err, "maximum cpu usage")
	first, err := pods.Create(t.Context(), framework.NewPod("first"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := first.Spec.Containers[0].Resources
	if got.Limits.Cpu().String() != "200m" || got.Requests.Cpu().String() != "200m" {
		t.Errorf("a container without resources gets %+v", got)
	}
	_, err = pods.Create(t.Context(), framework.NewPod("second"), metav1.CreateOptions{})
	framework.CheckDenied(t, "a pod that exceeds the quota", err, "exceeded quota: space")
	deallocate(t, env, ns, "claim")
}

func testMetadata(t *testing.T) {
	ns := env.Namespace(t)
	env.Kubectl(t, "label", "namespace", ns, "cost-center=4711", "team=red")
	space := readyClaimWith(t, ns, `"namespacePrefix":"ci-","labels":{"team":"blue"},"inheritLabels":["cost-center","team","missing"],"annotations":{"example.com/cost":"4711"},"podSecurity":{"enforce":"restricted","warn":"restricted"}`)
	namespace, err := env.Client.CoreV1().Namespaces().Get(t.Context(), space.Namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, exists := namespace.Labels["missing"]; exists || !strings.HasPrefix(namespace.Name, "ci-") || namespace.Labels["team"] != "blue" || namespace.Labels["cost-center"] != "4711" || namespace.Annotations["example.com/cost"] != "4711" {
		t.Errorf("got %s with labels %v and annotations %v", namespace.Name, namespace.Labels, namespace.Annotations)
	}
	_, err = tenant(t, space).CoreV1().Pods(space.Namespace).Create(t.Context(), framework.NewPod("pod"), metav1.CreateOptions{})
	framework.CheckDenied(t, "a pod that is only baseline", err, `violates PodSecurity "restricted`)
	deallocate(t, env, ns, "claim")
	env.AwaitNamespaceDeleted(t, space.Namespace)
}

func testOpenNetwork(t *testing.T) {
	ns := env.Namespace(t)
	space := readyClaimWith(t, ns, `"network":{"mode":"Open"},"allowNestedSpaces":true,"podSecurity":{"enforce":"privileged"}`)
	if _, err := env.Client.NetworkingV1().NetworkPolicies(space.Namespace).Get(t.Context(), spaceapi.ObjectName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the NetworkPolicy: %v", err)
	}
	client := tenant(t, space)
	if _, err := client.NetworkingV1().NetworkPolicies(space.Namespace).Create(t.Context(), openPolicy("own"), metav1.CreateOptions{}); err != nil {
		t.Errorf("create a NetworkPolicy: %v", err)
	}
	if _, err := client.ResourceV1().ResourceClaims(space.Namespace).Create(t.Context(), framework.NewClaim("nested"), metav1.CreateOptions{}); err != nil {
		t.Fatalf("a space in the space: %v", err)
	}
	allocate(t, env, space.Namespace, "nested")
	spacesOf(t, env, space.Namespace, "nested", 1)
	privileged := framework.NewPod("privileged")
	privileged.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	if _, err := client.CoreV1().Pods(space.Namespace).Create(t.Context(), privileged, metav1.CreateOptions{}); err != nil {
		t.Errorf("a privileged pod: %v", err)
	}
	deallocate(t, env, ns, "claim")
}

// testNestedSpaces requests a class that the policies do not know, so that the controller has to
// reject the claim.
func testNestedSpaces(t *testing.T) {
	ns := env.Namespace(t)
	_, spaces := readyClaim(t, env, ns, "claim")
	inside := spaces[0].Namespace
	nested := framework.NewClaim("nested")
	nested.Spec.Devices.Requests[0].Exactly.DeviceClassName = "unknown.example.com"
	if _, err := tenant(t, spaces[0]).ResourceV1().ResourceClaims(inside).Create(t.Context(), nested, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	allocate(t, env, inside, nested.Name)
	claim := framework.Await(t, framework.Claim(env.Client, inside, nested.Name), framework.NotReadyBecause(spaceapi.ReasonInvalidParameters, nestedDenied))
	awaitEvent(t, inside, "ResourceClaim", nested.Name, spaceapi.ReasonInvalidParameters, nestedDenied)
	env.CheckNoSpaceOf(t, claim.UID)
	deallocate(t, env, ns, "claim")
}

func testClusterRoles(t *testing.T) {
	ns := env.Namespace(t)
	reader := readyClaimWith(t, ns, `"clusterRoles":["view"]`)
	client := tenant(t, reader)
	if _, err := client.CoreV1().Pods(reader.Namespace).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("reading with the role view: %v", err)
	}
	_, err := client.CoreV1().Pods(reader.Namespace).Create(t.Context(), framework.NewPod("pod"), metav1.CreateOptions{})
	framework.CheckDenied(t, "writing with the role view", err, "cannot create")
	deallocate(t, env, ns, "claim")
}

func testAdminAccess(t *testing.T) {
	ns := env.Namespace(t)
	env.Kubectl(t, "label", "namespace", ns, "resource.kubernetes.io/admin-access=true")
	claim := framework.NewClaim("claim")
	claim.Spec.Devices.Requests[0].Exactly.AdminAccess = ptr.To(true)
	env.CreateClaim(t, ns, claim)
	allocate(t, env, ns, "claim", framework.WithClassConfig(`"allowAdminAccess":true,"clusterRoles":["admin"],"clusterWideRoles":["node-reader"]`),
		func(claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation.Devices.Results[0].AdminAccess = ptr.To(true)
		})
	_, spaces := spacesOf(t, env, ns, "claim", 1)
	client := tenant(t, spaces[0])
	if _, err := client.CoreV1().Pods(spaces[0].Namespace).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("reading: %v", err)
	}
	_, err := client.CoreV1().ConfigMaps(spaces[0].Namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	framework.CheckDenied(t, "writing", err, "cannot create")
	_, err = client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	framework.CheckDenied(t, "reading in the whole cluster", err, "cannot list")
	deallocate(t, env, ns, "claim")
}

// openPolicy returns a NetworkPolicy that allows all outgoing traffic.
func openPolicy(name string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{}},
		},
	}
}

func testNetworkPolicies(t *testing.T) {
	const opening, changing = "traffic between its own pods", "NetworkPolicy space"
	ns := env.Namespace(t)
	_, spaces := readyClaim(t, env, ns, "claim")
	space := spaces[0]
	client := tenant(t, space)
	policies := client.NetworkingV1().NetworkPolicies(space.Namespace)
	policyPath, isolation := framework.NetworkPolicyPath(space.Namespace, ""), framework.NetworkPolicyPath(space.Namespace, spaceapi.ObjectName)
	peer := func(p networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
		policy := openPolicy("own")
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{p}}}
		policy.Spec.Egress[0].To = []networkingv1.NetworkPolicyPeer{p}
		return policy
	}
	all := &metav1.LabelSelector{}
	denied(t, client,
		denial{"allow traffic from all namespaces", post(policyPath, framework.JSON(peer(networkingv1.NetworkPolicyPeer{PodSelector: all, NamespaceSelector: all}))), opening},
		denial{"allow traffic to an address", post(policyPath, framework.JSON(peer(networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}))), opening},
		denial{"delete all policies", remove(policyPath), changing},
		denial{"change NetworkPolicy space", patch(isolation, set("labels", "a", "b")), changing},
	)
	own, err := policies.Create(t.Context(), peer(networkingv1.NetworkPolicyPeer{PodSelector: all}), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create a NetworkPolicy for its own pods: %v", err)
	}
	own.Spec.Egress[0].To = nil
	_, err = policies.Update(t.Context(), own, metav1.UpdateOptions{})
	framework.CheckDenied(t, "allow all traffic in an update", err, opening)
	if err := policies.Delete(t.Context(), own.Name, metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete its own NetworkPolicy: %v", err)
	}
	deallocate(t, env, ns, "claim")
}

func testClusterRoleBindings(t *testing.T) {
	const words = "ClusterRoleBindings of spaces"
	env.Kubectl(t, "create", "clusterrolebinding", "foreign", "--clusterrole=node-reader")
	t.Cleanup(func() { _, _ = env.TryKubectl(context.Background(), "delete", "clusterrolebinding", "foreign") })
	binding := func(labels, subject string) framework.Call {
		return post(framework.ClusterRoleBindings, `{"metadata":{"name":"created","labels":{`+labels+`}},
			"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"node-reader"},"subjects":[`+subject+`]}`)
	}
	denied(t, env.As(t, framework.DriverNamespace, "contents-space-dra-driver-controller"),
		denial{"delete one", remove(framework.ClusterRoleBindings + "/foreign"), words},
		denial{"create one", binding("", ""), words},
		denial{"create one for another user", binding(`"`+framework.ClaimUIDLabel+`":"uid"`, `{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}`), "the ServiceAccounts of spaces"},
	)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Each setting of the installation that a space could depend on has another value when the
// controller starts again. Only the addresses of DNS and the API server are followed.
func TestSpace_keepsItsConfiguration(t *testing.T) {
	const driver = "given.example.com"
	templates, ns := env.Namespace(t), env.Namespace(t)
	if _, err := env.Client.CoreV1().ConfigMaps(templates).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	i := install(t, driver)
	always := i.arguments
	with := func(arguments ...string) []string { return append(slices.Clone(always), arguments...) }
	i.arguments = with("--cluster-role=edit", "--allowed-cluster-roles=admin", "--cluster-wide-roles=view", "--copy-from-namespaces="+templates,
		"--pod-security=baseline", "--network-mode=Isolated", "--namespace-prefix=before-", "--api-server-cidrs=192.0.2.1/32")
	i.start(t)
	names := map[string]string{}
	for claim, fields := range map[string]string{
		"plain":    ``,
		"roles":    `"clusterRoles":["admin","view"],"clusterWideRoles":["view"]`,
		"limits":   `"resourceQuota":{"hard":{"pods":"4"}},"limitRange":{"limits":[{"type":"Container","max":{"cpu":"1"}}]}`,
		"copies":   fmt.Sprintf(`"copyFrom":{"namespace":%q,"configMaps":[{"name":"settings"}]}`, templates),
		"open":     `"network":{"mode":"Open"}`,
		"rules":    `"network":{"egress":[{"to":[{"ipBlock":{"cidr":"203.0.113.0/24"}}],"ports":[{"port":443}]}]}`,
		"retained": `"retention":{"period":"1h"}`,
	} {
		env.CreateClaim(t, ns, framework.NewClaim(claim))
		allocateTo(t, driver, ns, claim, classJSON(fields))
		names[claim] = readyNamespace(t, ns, claim)
	}
	before := map[string]given{}
	for claim, name := range names {
		before[claim] = givenTo(t, driver, name)
	}

	i.kill(t)
	i.arguments = with("--cluster-role=view", "--pod-security=restricted", "--network-mode=Open", "--namespace-prefix=after-", "--dns-port=5353", "--api-server-cidrs=192.0.2.2/32")
	i.start(t)
	for claim, name := range names {
		if claim != "open" {
			framework.AwaitAny(t, env.Client.NetworkingV1().RESTClient(), "networkpolicies", name, framework.That("with the new addresses", func(p *networkingv1.NetworkPolicy) bool {
				last := p.Spec.Egress[len(p.Spec.Egress)-2:]
				return last[0].Ports[0].Port.IntVal == 5353 && last[1].To[0].IPBlock.CIDR == "192.0.2.2/32"
			}))
		}
	}
	for claim, name := range names {
		if got := givenTo(t, driver, name); fmt.Sprint(got) != fmt.Sprint(before[claim]) {
			t.Errorf("%s: %s", claim, diff.Diff(before[claim], got))
		}
	}
	events, err := env.Client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events.Items {
		if event.Type == corev1.EventTypeWarning {
			t.Errorf("event about %s: %s: %s", event.InvolvedObject.Name, event.Reason, event.Message)
		}
	}

	// New spaces have the new settings.
	env.CreateClaim(t, ns, framework.NewClaim("new"))
	allocateTo(t, driver, ns, "new", classJSON(""))
	names["new"] = readyNamespace(t, ns, "new")
	if got := givenTo(t, driver, names["new"]); got.roles["space"] != "view" || got.labels["pod-security.kubernetes.io/enforce"] != "restricted" || got.policy != "" {
		t.Errorf("a new space: %+v", got)
	}

	for claim := range names {
		deallocate(t, env, ns, claim)
	}
	keys := spaceapi.KeysFor(driver)
	framework.Await(t, framework.Namespace(env.Client, names["retained"]), framework.That("retained", func(n *corev1.Namespace) bool { return n.Annotations[keys.RetainedUntil] != "" }))
	if err := env.Client.CoreV1().Namespaces().Delete(t.Context(), names["retained"], metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, name))
	}
}

// readyNamespace returns the namespace of a claim's space when that is ready.
func readyNamespace(t *testing.T, namespace, name string) string {
	t.Helper()
	claim := framework.Await(t, framework.Claim(env.Client, namespace, name), framework.That("ready", func(c *resourceapi.ResourceClaim) bool {
		return len(c.Status.Devices) == 1 && meta.IsStatusConditionTrue(c.Status.Devices[0].Conditions, spaceapi.ConditionReady)
	}))
	return framework.SpaceStatus(t, claim, 0).Namespace
}

// given is what a space has.
type given struct {
	labels, roles, wideRoles, objects map[string]string
	policy                            string
}

func givenTo(t *testing.T, driver, name string) given {
	t.Helper()
	out := given{roles: map[string]string{}, wideRoles: map[string]string{}, objects: map[string]string{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ns, err := env.Client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	must(err)
	out.labels = ns.Labels
	out.objects["record"] = ns.Annotations[spaceapi.KeysFor(driver).Config]
	bindings, err := env.Client.RbacV1().RoleBindings(name).List(t.Context(), metav1.ListOptions{})
	must(err)
	for _, binding := range bindings.Items {
		out.roles[binding.Name] = binding.RoleRef.Name
		out.objects["RoleBinding "+binding.Name] = string(binding.UID)
	}
	wide, err := env.Client.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
	must(err)
	for _, binding := range wide.Items {
		if slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Namespace == name }) {
			out.wideRoles[binding.Name] = binding.RoleRef.Name
		}
	}
	account, err := env.Client.CoreV1().ServiceAccounts(name).Get(t.Context(), spaceapi.ServiceAccountName, metav1.GetOptions{})
	must(err)
	out.objects["ServiceAccount"] = string(account.UID)
	quotas, err := env.Client.CoreV1().ResourceQuotas(name).List(t.Context(), metav1.ListOptions{})
	must(err)
	for _, quota := range quotas.Items {
		out.objects["ResourceQuota"] = fmt.Sprint(quota.UID, quota.Spec)
	}
	ranges, err := env.Client.CoreV1().LimitRanges(name).List(t.Context(), metav1.ListOptions{})
	must(err)
	for _, limits := range ranges.Items {
		out.objects["LimitRange"] = fmt.Sprint(limits.UID, limits.Spec)
	}
	policies, err := env.Client.NetworkingV1().NetworkPolicies(name).List(t.Context(), metav1.ListOptions{})
	must(err)
	for _, policy := range policies.Items {
		// DNS and the API server, which follow the cluster, come last.
		policy.Spec.Egress = policy.Spec.Egress[:len(policy.Spec.Egress)-2]
		out.policy = fmt.Sprint(policy.UID, policy.Spec.String())
	}
	maps, err := env.Client.CoreV1().ConfigMaps(name).List(t.Context(), metav1.ListOptions{})
	must(err)
	for _, config := range maps.Items {
		out.objects["ConfigMap "+config.Name] = string(config.UID)
	}
	return out
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/client"
	"github.com/space-dra/space-dra-driver/pkg/space/resources"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Each setting of the installation that a space could depend on has another value when the
// controller starts again, and the chart's permissions and policies are those of the new values.
// In existing spaces, only the addresses of DNS and the API server change.
func TestSpace_keepsItsConfiguration(t *testing.T) {
	const driver, release = "keeps-config.example.com", "keeps-config"
	keys := spaceapi.KeysFor(driver)
	originals, ns := env.Namespace(t), env.Namespace(t)
	if _, err := env.Client.CoreV1().ConfigMaps(originals).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	install := func(values map[string]string, arguments ...string) *framework.Controller {
		t.Helper()
		values["driverName"] = driver
		installed := releaseOf(t, release, ns, values, "rbac-controller.yaml", "admission-controller.yaml", "admission-spaces.yaml", "admission-nested.yaml")
		return startController(t, env, append(installed, arguments...)...)
	}
	controller := install(map[string]string{
		"space.clusterRole": "edit", "space.allowedClusterRoles": "{admin}", "space.clusterWideRoles": "{view}", "space.copyFromNamespaces": "{" + originals + "}",
		"space.podSecurity": "baseline", "space.allowedPodSecurity": "{privileged}", "space.networkMode": "Isolated",
	}, "--cluster-role=edit", "--pod-security=baseline", "--network-mode=Isolated", "--namespace-prefix=before-", "--apiserver-cidrs=192.0.2.1/32",
		"--dns-namespace=dns-before", "--dns-pod-labels=k8s-app=before", "--dns-cidrs=192.0.2.11/32")
	names := map[string]string{}
	for claim, fields := range map[string]string{
		"plain":     ``,
		"roles":     `"clusterRoles":["admin","view"],"clusterWideRoles":["view"]`,
		"access":    `"access":[` + accessOf("team", "admin", spaceapi.AccessReady) + `,` + accessOf("team", "edit", spaceapi.AccessAlways) + `]`,
		"limits":    `"resourceQuota":{"hard":{"pods":"4"}},"limitRange":{"limits":[{"type":"Container","max":{"cpu":"1"}}]}`,
		"copies":    fmt.Sprintf(`"copyFrom":{"namespace":%q,"configMaps":[{"name":"settings"}]}`, originals),
		"open":      `"network":{"mode":"Open"}`,
		"rules":     `"network":{"egress":[{"to":[{"ipBlock":{"cidr":"203.0.113.0/24"}}],"ports":[{"port":443}]}]}`,
		"retained":  `"retention":{"period":"1h"}`,
		"lifetime":  `"maxLifetime":"8h","maxTerminationGracePeriod":"20s"`,
		"labels":    `"labels":{"team":"red"},"annotations":{"example.com/note":"x"},"namespacePrefix":"red-"`,
		"standards": `"podSecurity":{"enforce":"privileged","warn":"restricted"},"allowNestedSpaces":true`,
	} {
		names[claim] = provision(t, driver, ns, claim, framework.WithClassConfig(fields))
	}
	before := map[string]string{}
	for claim, name := range names {
		before[claim] = contentsOf(t, name)
	}

	controller.Stop(t, syscall.SIGTERM)
	// As helm upgrade does.
	env.Kubectl(t, "delete", "role,rolebinding", release+"-space-dra-driver-controller-copy-sources", "-n", originals)
	// Without permission to bind the role edit, the controller could not restore a RoleBinding.
	install(map[string]string{
		"space.clusterRole": "view", "space.allowedClusterRoles": "{edit}", "space.podSecurity": "restricted", "space.networkMode": "Open",
	}, "--cluster-role=view", "--pod-security=restricted", "--network-mode=Open", "--namespace-prefix=after-", "--dns-port=5353", "--apiserver-cidrs=192.0.2.2/32",
		"--dns-namespace=dns-after", "--dns-pod-labels=k8s-app=after", "--dns-cidrs=192.0.2.22/32", "--advertise-apiserver-url=https://192.0.2.3:6443")
	for claim, name := range names {
		if claim != "open" {
			framework.AwaitAny(t, env.Client.NetworkingV1().RESTClient(), "networkpolicies", name, framework.That("with the new addresses", func(p *networkingv1.NetworkPolicy) bool {
				last := p.Spec.Egress[len(p.Spec.Egress)-2:]
				return last[0].Ports[0].Port.IntVal == 5353 && last[1].To[0].IPBlock.CIDR == "192.0.2.2/32"
			}))
		}
	}
	updated := strings.NewReplacer(`"port":53,`, `"port":5353,`, "192.0.2.1/32", "192.0.2.2/32",
		"dns-before", "dns-after", `"k8s-app":"before"`, `"k8s-app":"after"`, "192.0.2.11/32", "192.0.2.22/32")
	for claim, name := range names {
		framework.Await(t, framework.Claim(env.Client, ns, claim), framework.That("with the new server", func(c *resourceapi.ResourceClaim) bool {
			return len(c.Status.Devices) == 1 && c.Status.Devices[0].Data != nil && strings.Contains(string(c.Status.Devices[0].Data.Raw), "https://192.0.2.3:6443")
		}))
		if got, want := contentsOf(t, name), updated.Replace(before[claim]); got != want {
			t.Errorf("%s: %s", claim, diff.Diff(want, got))
		}
	}
	// Another node can still be added.
	newNode(t, env, "keeps-config-node", nil)
	pod := bind(t, createPod(t, ns, framework.NewPod("pod")), "keeps-config-node")
	for claim, name := range names {
		reserve(t, claim, pod)
		awaitNodesRecorded(t, keys, name, pod)
	}
	if warnings := env.Kubectl(t, "get", "events", "-n", ns, "--field-selector=type=Warning,source=space-controller", "-o", "yaml"); strings.Contains(warnings, "reason:") {
		t.Errorf("warnings: %s", warnings)
	}

	// Restored objects keep the configuration, too.
	env.Kubectl(t, "delete", "rolebinding,networkpolicy", "space", "-n", names["plain"])
	framework.AwaitAny(t, env.Client.RbacV1().RESTClient(), "rolebindings", names["plain"], framework.That("restored with the role edit", func(b *rbacv1.RoleBinding) bool { return b.RoleRef.Name == "edit" }))
	framework.AwaitAny(t, env.Client.NetworkingV1().RESTClient(), "networkpolicies", names["plain"], framework.That("restored", func(p *networkingv1.NetworkPolicy) bool { return p.Name == "space" }))

	// New spaces have the new settings.
	names["new"] = provision(t, driver, ns, "new")
	if got := contentsOf(t, names["new"]); !strings.Contains(got, "RoleBinding space view ") || !strings.Contains(got, `"pod-security.kubernetes.io/enforce":"restricted"`) || strings.Contains(got, "NetworkPolicy ") {
		t.Errorf("a new space: %s", got)
	}

	for claim := range names {
		deallocate(t, env, ns, claim)
	}
	framework.Await(t, framework.Namespace(env.Client, names["retained"]), framework.That("retained", func(n *corev1.Namespace) bool { return n.Annotations[keys.RetainedUntil] != "" }))
	if err := env.Client.CoreV1().Namespaces().Delete(t.Context(), names["retained"], metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		env.AwaitNamespaceDeleted(t, name)
	}
	// The controller no longer has permission for it.
	framework.Eventually(t, "the garbage collector to delete the ClusterRoleBinding of a space", func(ctx context.Context) error {
		binding, err := env.Client.RbacV1().ClusterRoleBindings().Get(ctx, resources.ClusterRoleBindingName(names["roles"], "view"), metav1.GetOptions{})
		if err == nil {
			return fmt.Errorf("there is %s, owned by %v", binding.Name, binding.OwnerReferences)
		}
		return client.IgnoreNotFound(err)
	})
}

// contentsOf returns the objects of a space as text.
func contentsOf(t *testing.T, name string) string {
	t.Helper()
	return env.Kubectl(t, "get", "namespace", name, "-o", "jsonpath={.metadata.labels} {.metadata.annotations}\n") +
		env.Kubectl(t, "get", "serviceaccounts,rolebindings,resourcequotas,limitranges,networkpolicies,configmaps", "-n", name, "-o",
			`jsonpath={range .items[*]}{.kind} {.metadata.name} {.roleRef.name} {.metadata.uid} {.spec}{"\n"}{end}`) +
		env.Kubectl(t, "get", "clusterrolebindings", "-o", `jsonpath={range .items[?(@.subjects[0].namespace=="`+name+`")]}{.metadata.name} {.roleRef.name}{"\n"}{end}`)
}

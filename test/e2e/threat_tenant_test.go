// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func (s *fixture) tenantPod(t *actor) {
	own := s.mine.Namespace
	s.mine.CheckUsable(t, s.ns, "mine")
	nested := func(name string) denial { return always(policy("nested-"+name), "allowNestedSpaces") }
	podSecurity := func(words string) denial { return always(`violates PodSecurity "baseline`, words) }
	pods := func(words string) denial { return always(policy("tenant-pods"), words) }
	isolation := func(words string) denial { return by(policy("tenant-networkpolicies"), words) }
	tokens := func(words string) denial { return by(policy("tenant-tokens"), words) }
	tokenVolume := func(token string) string {
		return `"volumes":[{"name":"token","projected":{"sources":[{"serviceAccountToken":{"path":"token",` + token + `}}]}}],`
	}
	tokenWith := func(spec string) string {
		return `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{` + spec + `}}`
	}
	space := func(namespace string) string { return "system:serviceaccount:" + namespace + ":space" }
	pod := func(spec, container string) call { return post(core(own, "pods"), podWith(spec, container)) }
	service := func(spec string) call {
		return post(core(own, "services"), `{"apiVersion":"v1","kind":"Service","metadata":{"name":"attempt"},"spec":{`+spec+`"ports":[{"port":443}]}}`)
	}
	claim := func(class string) call { return post(claims(own, ""), claimBody(class)) }
	template := post(dra(own, "resourceclaimtemplates"), `{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaimTemplate","metadata":{"name":"attempt"},"spec":{"spec":{"devices":{"requests":[
		{"name":"space","firstAvailable":[{"name":"a","deviceClassName":"gpu.example.com"},{"name":"b","deviceClassName":"`+spaceapi.DefaultDriverName+`"}]}]}}}}`)
	extended := `"resources":{"limits":{"deviceclass.resource.kubernetes.io/` + spaceapi.DefaultDriverName + `":"1"}},`
	t.testDenied(s.tenant, []attempt{
		{what: "Read Secrets of other namespaces", call: get(core(system, "secrets")), instead: get(core(own, "secrets"))},
		{what: "Read Secrets of another space", call: get(core(s.others.Namespace, "secrets"))},
		{what: "Read pods outside of its space", call: get(core(s.ns, "pods")), instead: get(core(own, "pods"))},
		{what: "Read ConfigMaps in the driver's namespace", call: get(core(driverNS, "configmaps")), instead: get(core(own, "configmaps"))},
		{what: "Lower the Pod Security Standard of its namespace", call: patch(framework.NamespacePath(own), lowered), instead: get(framework.NamespacePath(own))},
		{what: "Delete its namespace", call: remove(framework.NamespacePath(own))},
		{what: "Run a privileged pod", call: pod("", `"securityContext":{"privileged":true},`), by: podSecurity("privileged"), instead: pod("", "")},
		{what: "Run a pod with a directory of the node", call: pod(`"volumes":[{"name":"root","hostPath":{"path":"/"}}],`, ""), by: podSecurity("hostPath")},
		{what: "Run a pod in the node's network", call: pod(`"hostNetwork":true,`, ""), by: podSecurity("host namespaces")},
		{what: "Preempt pods of others with a system PriorityClass", call: pod(`"priorityClassName":"system-node-critical",`, ""), by: pods("system PriorityClass")},
		{what: "Run a pod for a year after the space is deprovisioned, with a long grace period", call: pod(`"terminationGracePeriodSeconds":31536000,`, ""), by: pods("at most 300 seconds"),
			instead: pod(`"terminationGracePeriodSeconds":300,`, "")},
		{what: "Run a pod with a token that is valid for ten years", call: pod(tokenVolume(`"expirationSeconds":315360000`), ""), by: pods("24 hours"),
			instead: pod(tokenVolume(`"expirationSeconds":86400`), "")},
		{what: "Take over the traffic to an address outside the cluster with a Service", call: service(`"externalIPs":["192.0.2.1"],`), by: always(policy("tenant-services"), "externalIPs"), instead: service("")},
		{what: "Grant itself permissions in the whole cluster", call: bindAll("cluster-admin", own)},
		{what: "Grant itself more permissions in its space", call: bind(own, "attempt", "cluster-admin", own, "space")},
		{what: "Remove the RoleBinding of its space", call: remove(rbac(own, "rolebindings/space")), instead: remove(core(own, "serviceaccounts/space"))},
		{what: "Request a space from inside its space", call: claim(spaceapi.DefaultDriverName), by: nested("resourceclaims"), instead: claim("gpu.example.com")},
		{what: "Request a space of its own class from inside its space", call: claim(limitedClass), by: nested("resourceclaims")},
		{what: "Request a space from inside its space with a template", call: template, by: nested("resourceclaimtemplates")},
		{what: "Request a space from inside its space with an extended resource of a pod", call: pod("", extended), by: nested("pods")},
		{what: "Raise its ResourceQuota", call: patch(core(own, "resourcequotas/space"), `{"spec":{"hard":null}}`)},
		{what: "Delete its ResourceQuota", call: remove(core(own, "resourcequotas/space")), instead: get(core(own, "resourcequotas/space"))},
		{what: "Allow traffic from and to other namespaces", call: post(networkPolicies(own, ""), opening), by: isolation("traffic between its own pods"), instead: post(networkPolicies(own, ""), among)},
		{what: "Delete the NetworkPolicy of its space", call: remove(networkPolicies(own, "space")), by: isolation("NetworkPolicy space")},
		{what: "Get a token of a ServiceAccount in another namespace", call: requestToken(s.ns, "default", unbound), instead: requestToken(own, "default", unbound)},
		{what: "Get a token of the controller", call: requestToken(driverNS, framework.ControllerName, unbound)},
		{what: "Get a token of its ServiceAccounts that is valid for ten years", call: requestToken(own, "default", tokenWith(`"expirationSeconds":315360000`)), by: tokens("24 hours"),
			instead: requestToken(own, "default", tokenWith(`"expirationSeconds":86400`))},
		{what: "Get a token of its ServiceAccounts for a cloud", call: requestToken(own, "default", tokenWith(`"audiences":["sts.amazonaws.com"]`)), by: tokens("audiences of the API server")},
		{what: "Impersonate a component of Kubernetes", call: as("system:kube-scheduler", get(core(own, "pods"))), by: notAs, instead: as(space(own), get(core(own, "pods")))},
		{what: "Impersonate another space", call: as(space(s.others.Namespace), get(core(s.others.Namespace, "pods"))), by: notAs},
		{what: "Change the status of its claim", call: patch(claims(s.ns, "mine/status"), `{"status":{"reservedFor":null}}`)},
		{what: "Delete its claim", call: remove(claims(s.ns, "mine"))},
		{what: "Reach a node's kubelet through the API server", call: get("/api/v1/nodes/" + env.Node(0) + "/proxy/healthz")},
		{what: "Run a command in a pod of another namespace", call: post(core(s.elsewhere, "pods/others/exec?command=id&container=ctr&stdout=true"), "")},
		{what: "Create a namespace", call: post(framework.NamespacePath(""), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"attempt"}}`)},
	})
	// This needs the end of the other attackers' tests.
	t.rows = append(t.rows, deprovisionedSpace)
}

const deprovisionedSpace = "Use a token of a deprovisioned space"

// deprovisioned uses the token of the pod, and one that the pod requested.
func (s *fixture) deprovisioned(t *testing.T) {
	own := s.mine.Namespace
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](24 * 3600)}}
	created, err := s.tenant.CoreV1().ServiceAccounts(own).CreateToken(t.Context(), "space", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kept := env.WithToken(t, created.Status.Token)
	read := get(core(own, "configmaps"))
	for what, client := range map[string]kubernetes.Interface{"pod's": s.tenant, "requested": kept} {
		if err := read.By(client)(t.Context()); err != nil {
			t.Errorf("the %s token does not work before the space is deprovisioned: %v", what, err)
		}
	}
	env.DeletePod(t, s.ns, "mine")
	framework.Await(t, framework.Claim(env.Client, s.ns, "mine"), framework.Deallocated())
	awaitInvalid(t, s.tenant, read)
	awaitInvalid(t, kept, read)
	env.AwaitNamespaceDeleted(t, own)
	env.AwaitNoFilesOf(t, s.mine.Claim)
}

// tenantAdmin has the ClusterRole admin in a space.
func tenantAdmin(t *actor) {
	const driver = "threats.example.com"
	env.InstallAnotherRelease(t, "threats", "driverName="+driver, "controller.replicas=1", "space.clusterRole=admin", "defaultDeviceClass.config.resourceQuota.hard.pods=10")
	ns := env.Namespace(t)
	own := env.Use(t, ns, claimOf("claim", driver), framework.NewPod("pod", "claim")).Namespace
	tenant := env.WithToken(t, env.Exec(t, ns, "pod", "cat", "/etc/claim/token"))

	// The tenant grants the same permissions to an accomplice outside of the space.
	accomplice := env.As(t, ns, "default")
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "accomplice"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "default"}},
	}
	read := get(core(own, "configmaps"))
	framework.AwaitAllowed(t, read.String(), read.By(tenant))
	if _, err := tenant.RbacV1().RoleBindings(own).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitAllowed(t, read.String(), read.By(accomplice))

	isolation := by("ValidatingAdmissionPolicy 'threats-space-dra-driver-tenant-networkpolicies'", "traffic between its own pods")
	openIt := post(networkPolicies(own, ""), opening)
	framework.AwaitDenied(t, openIt.String(), openIt.By(tenant), isolation.words...)
	role := func(resource string) call {
		return post(rbac(own, "roles"), `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"attempt"},
			"rules":[{"apiGroups":[""],"resources":["`+resource+`"],"verbs":["patch"]}]}`)
	}
	allow := bind(own, "attempt", "edit", ns, "default")
	t.testDenied(tenant, []attempt{
		{what: "Grant permissions outside the space", call: bind(ns, "attempt", "edit", own, "space"), instead: allow},
		{what: "Grant cluster-admin in the space", call: bind(own, "attempt", "cluster-admin", own, "space"), by: escalation, instead: allow},
		{what: "Create a Role that allows changes of the Namespace", call: role("namespaces"), by: escalation, instead: role("configmaps")},
		{what: "Grant permissions in the whole cluster", call: bindAll("view", own)},
		{what: "Change the labels of the namespace", call: patch(framework.NamespacePath(own), lowered)},
		{what: "Change the space's quota", call: remove(core(own, "resourcequotas/space"))},
		{what: "Allow traffic from and to other namespaces", call: openIt, by: isolation},
	})

	t.testRow("Keep permissions of others after the space is deprovisioned", func(t *testing.T) {
		env.DeletePod(t, ns, "pod")
		awaitInvalid(t, tenant, read)
		// The accomplice's ServiceAccount still exists.
		framework.AwaitDenied(t, read.String(), read.By(accomplice), byRBAC.words...)
		env.AwaitNamespaceDeleted(t, own)
	})
}

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

// nestedRefused is part of every refusal of a nested space.
const nestedRefused = "allowNestedSpaces"

// driverNS is where the chart is installed.
const driverNS = framework.DriverNamespace

func (s *stage) tenantPod(t *testing.T) {
	own := s.mine.Namespace
	s.mine.Usable(t, s.ns, "mine")
	account := "system:serviceaccount:" + own + ":"
	refusedTo(t, s.tenant,
		attempt{what: "read Secrets of other namespaces", call: get(core(metav1.NamespaceSystem, "secrets")), words: cannot("list", "secrets"), instead: get(core(own, "secrets"))},
		attempt{what: "read Secrets of another space", call: get(core(s.others.Namespace, "secrets")), words: cannot("list", "secrets")},
		attempt{what: "read pods beside its own", call: get(core(s.ns, "pods")), words: cannot("list", "pods"), instead: get(core(own, "pods"))},
		attempt{what: "look into the driver's namespace", call: get(core(driverNS, "configmaps")), words: cannot("list", "configmaps"), instead: get(core(own, "configmaps"))},
		attempt{
			what:    "lower the Pod Security Standard of its namespace",
			call:    patch(framework.NamespacePath(own), lowered),
			words:   cannot("patch", "namespaces"),
			instead: get(framework.NamespacePath(own)),
		},
		attempt{what: "delete its namespace", call: remove(framework.NamespacePath(own)), words: cannot("delete", "namespaces")},
		attempt{
			what:    "run a privileged pod",
			call:    post(core(own, "pods"), podWith("", `"securityContext":{"privileged":true},`)),
			words:   []string{`violates PodSecurity "baseline`, "privileged"},
			instead: post(core(own, "pods"), podWith("", "")),
			toAll:   true,
		},
		attempt{
			what:  "run a pod with a directory of the node",
			call:  post(core(own, "pods"), podWith(`"volumes":[{"name":"root","hostPath":{"path":"/"}}],`, "")),
			words: []string{`violates PodSecurity "baseline`, "hostPath"},
			toAll: true,
		},
		attempt{
			what:  "run a pod in the node's network",
			call:  post(core(own, "pods"), podWith(`"hostNetwork":true,`, "")),
			words: []string{`violates PodSecurity "baseline`, "host namespaces"},
			toAll: true,
		},
		attempt{
			what:  "give itself rights in the whole cluster",
			call:  post(framework.ClusterRoleBindings, binding("ClusterRoleBinding", "attempt", "cluster-admin", own, "space")),
			words: cannot("create", "clusterrolebindings"),
		},
		attempt{
			what:  "give itself more rights in its space",
			call:  post(rbac(own, "rolebindings"), binding("RoleBinding", "attempt", "cluster-admin", own, "space")),
			words: cannot("create", "rolebindings"),
		},
		attempt{
			what:    "remove the RoleBinding of its space",
			call:    remove(rbac(own, "rolebindings/space")),
			words:   cannot("delete", "rolebindings"),
			instead: remove(core(own, "serviceaccounts/space")),
		},
		attempt{
			what:    "ask for a space from inside its space",
			call:    post(claims(own, ""), claimOf(spaceapi.DefaultDriverName)),
			words:   byPolicy("nested-resourceclaims", nestedRefused),
			instead: post(claims(own, ""), claimOf("gpu.example.com")),
			toAll:   true,
		},
		attempt{
			what:  "ask for a space of its own class from inside its space",
			call:  post(claims(own, ""), claimOf(limitedClass)),
			words: byPolicy("nested-resourceclaims", nestedRefused),
			toAll: true,
		},
		attempt{
			what: "ask for a space from inside its space by a template",
			call: post(dra(own, "resourceclaimtemplates"), `{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaimTemplate","metadata":{"name":"attempt"},"spec":{"spec":{"devices":{"requests":[
					{"name":"space","firstAvailable":[{"name":"a","deviceClassName":"gpu.example.com"},{"name":"b","deviceClassName":"`+spaceapi.DefaultDriverName+`"}]}]}}}}`),
			words: byPolicy("nested-resourceclaimtemplates", nestedRefused),
			toAll: true,
		},
		attempt{
			what: "ask for a space from inside its space by a pod alone",
			call: post(core(own, "pods"), podWith("",
				`"resources":{"limits":{"deviceclass.resource.kubernetes.io/`+spaceapi.DefaultDriverName+`":"1"}},`)),
			words: byPolicy("nested-pods", nestedRefused),
			toAll: true,
		},
		attempt{what: "raise its ResourceQuota", call: patch(core(own, "resourcequotas/space"), `{"spec":{"hard":null}}`), words: cannot("patch", "resourcequotas")},
		attempt{
			what:    "delete its ResourceQuota",
			call:    remove(core(own, "resourcequotas/space")),
			words:   cannot("delete", "resourcequotas"),
			instead: get(core(own, "resourcequotas/space")),
		},
		attempt{
			what:    "open its network",
			call:    post(networkPolicies(own, ""), opening),
			words:   byPolicy("tenant-networkpolicies", "traffic between its own pods"),
			instead: post(networkPolicies(own, ""), among),
		},
		attempt{what: "remove its isolation", call: remove(networkPolicies(own, "space")), words: byPolicy("tenant-networkpolicies", "NetworkPolicy space")},
		attempt{
			what:    "get a token of a ServiceAccount elsewhere",
			call:    post(core(s.ns, "serviceaccounts/default/token"), tokenFor("", "", "")),
			words:   cannot("create", "serviceaccounts/token"),
			instead: post(core(own, "serviceaccounts/default/token"), tokenFor("", "", "")),
		},
		attempt{
			what:  "get a token of the controller",
			call:  post(core(driverNS, "serviceaccounts/"+framework.ControllerName+"/token"), tokenFor("", "", "")),
			words: cannot("create", "serviceaccounts/token"),
		},
		attempt{
			what:    "impersonate a part of Kubernetes",
			call:    as("system:kube-scheduler", get(core(own, "pods"))),
			words:   notAs,
			instead: as(account+"space", get(core(own, "pods"))),
		},
		attempt{what: "impersonate another space", call: as("system:serviceaccount:"+s.others.Namespace+":space", get(core(s.others.Namespace, "pods"))), words: notAs},
		attempt{what: "change the status of its claim", call: patch(claims(s.ns, "mine/status"), `{"status":{"reservedFor":null}}`), words: cannot("patch", "resourceclaims/status")},
		attempt{what: "delete its claim", call: remove(claims(s.ns, "mine")), words: cannot("delete", "resourceclaims")},
		attempt{what: "reach a node's kubelet through the API server", call: get("/api/v1/nodes/" + env.Node(0) + "/proxy/healthz"), words: cannot("get", "nodes/proxy")},
		attempt{what: "run a command in a pod elsewhere", call: post(core(s.elsewhere, "pods/others/exec?command=id&container=ctr&stdout=true"), ""), words: cannot("create", "pods/exec")},
		attempt{
			what:  "make a namespace",
			call:  post("/api/v1/namespaces", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"attempt"}}`),
			words: cannot("create", "namespaces"),
		},
	)
}

// ended shows what is left of a space's credentials when it has ended: of those that
// the pod was given and of those that it made itself.
func (s *stage) ended(t *testing.T) {
	own := s.mine.Namespace
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](10 * 365 * 24 * 3600)}}
	made, err := s.tenant.CoreV1().ServiceAccounts(own).CreateToken(t.Context(), "space", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kept := env.WithToken(t, made.Status.Token)
	look := get(core(own, "configmaps"))
	for what, client := range map[string]kubernetes.Interface{"given": s.tenant, "made": kept} {
		if err := look.By(client)(t.Context()); err != nil {
			t.Errorf("the token that was %s does not work while the space is there: %v", what, err)
		}
	}
	env.DeletePod(t, s.ns, "mine")
	framework.Await(t, framework.Claim(env.Client, s.ns, "mine"), framework.Deallocated())
	awaitInvalid(t, s.tenant, look)
	awaitInvalid(t, kept, look)
	env.AwaitNamespaceGone(t, own)
	env.AwaitNoTraceOf(t, s.claim.UID)
}

// tenantAdmin has a space whose class gives it the ClusterRole admin, of a driver
// that allows that.
func tenantAdmin(t *testing.T) {
	const driver = "threats.example.com"
	env.InstallAnother(t, "threats", "driverName="+driver, "controller.replicas=1", "space.clusterRole=admin", "defaultDeviceClass.config.resourceQuota.hard.pods=10")
	ns := env.Namespace(t)
	env.CreateClaim(t, ns, claimOfClass(driver))
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	own := env.Variables(t, ns, "pod")["CLAIM_NAMESPACE"]
	tenant := env.WithToken(t, env.Exec(t, ns, "pod", "cat", "/etc/claim/token"))

	// The tenant grants a friend outside of the space the same rights.
	friend := env.As(t, ns, "default")
	given := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "friend"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "default"}},
	}
	look := get(core(own, "configmaps"))
	framework.AwaitAllowed(t, look.String(), look.By(tenant))
	if _, err := tenant.RbacV1().RoleBindings(own).Create(t.Context(), given, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	framework.AwaitAllowed(t, look.String(), look.By(friend))

	isolation := []string{"ValidatingAdmissionPolicy 'threats-space-dra-driver-tenant-networkpolicies'", "traffic between its own pods"}
	openIt := post(networkPolicies(own, ""), opening)
	framework.AwaitDenied(t, openIt.String(), openIt.By(tenant), isolation...)
	allow := post(rbac(own, "rolebindings"), binding("RoleBinding", "attempt", "edit", ns, "default"))
	refusedTo(t, tenant,
		attempt{
			what:    "give rights outside the space",
			call:    post(rbac(ns, "rolebindings"), binding("RoleBinding", "attempt", "edit", own, "space")),
			words:   cannot("create", "rolebindings"),
			instead: allow,
		},
		attempt{
			what:    "give cluster-admin in the space",
			call:    post(rbac(own, "rolebindings"), binding("RoleBinding", "attempt", "cluster-admin", own, "space")),
			words:   escalation,
			instead: allow,
		},
		attempt{
			what: "make a Role that may change the namespace",
			call: post(rbac(own, "roles"), `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"attempt"},
				"rules":[{"apiGroups":[""],"resources":["namespaces"],"verbs":["patch"]}]}`),
			words: escalation,
			instead: post(rbac(own, "roles"), `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"attempt"},
				"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["patch"]}]}`),
		},
		attempt{
			what:  "give rights in the whole cluster",
			call:  post(framework.ClusterRoleBindings, binding("ClusterRoleBinding", "attempt", "view", own, "space")),
			words: cannot("create", "clusterrolebindings"),
		},
		attempt{what: "change the labels of the namespace", call: patch(framework.NamespacePath(own), lowered), words: cannot("patch", "namespaces")},
		attempt{what: "change the space's quota", call: remove(core(own, "resourcequotas/space")), words: cannot("delete", "resourcequotas")},
		attempt{what: "open the space's network", call: openIt, words: isolation},
	)

	t.Run("keep rights of others beyond the space", func(t *testing.T) {
		env.DeletePod(t, ns, "pod")
		awaitInvalid(t, tenant, look)
		// The friend's ServiceAccount still exists.
		framework.AwaitDenied(t, look.String(), look.By(friend), cannot("list", "configmaps")...)
		env.AwaitNamespaceGone(t, own)
	})
}

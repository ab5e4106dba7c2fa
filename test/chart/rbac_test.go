// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// right is a rule of a role, and why the component needs it.
type right struct{ rule, because string }

// ofTheController are the controller's rights in the whole cluster.
var ofTheController = []right{
	{"resource.k8s.io/resourceclaims: get list watch", "it follows all claims, and looks at one before it ends a space"},
	{"resource.k8s.io/resourceclaims/status: update", "it writes status.devices; a policy keeps it from the rest"},
	{"resource.k8s.io/resourceclaims/driver [space.resource.example.com]: arbitrary-node:update", "from Kubernetes 1.36 on, the write above needs this too"},
	{"resource.k8s.io/resourceslices: list watch create update delete", "it publishes the pools; a policy keeps it to its own"},
	{"namespaces: get list watch create patch delete", "spaces are namespaces; a policy keeps it to those with its record"},
	{"serviceaccounts [space]: get list watch delete", "it looks after those in spaces"},
	{"rbac.authorization.k8s.io/rolebindings [space space-2 space-3 space-4 space-5 space-6 space-7 space-8]: get list watch patch delete", "it looks after those in spaces"},
	{"serviceaccounts: create", "creating can't be limited by name, but is by policy"},
	{"rbac.authorization.k8s.io/rolebindings: create", "the same"},
	{"resourcequotas limitranges [space]: get list watch update", "it looks after those in spaces"},
	{"resourcequotas/status [space]: update", "a new quota limits nothing before its status says so"},
	{"networking.k8s.io/networkpolicies [space]: get list watch update", "it looks after those in spaces"},
	{"resourcequotas limitranges: create", "creating can't be limited by name, but is by policy"},
	{"networking.k8s.io/networkpolicies: create", "the same"},
	{"rbac.authorization.k8s.io/clusterroles [edit view]: list watch bind", "it gives these to spaces, and no other"},
	{"configmaps: create", "it makes kube-root-ca.crt in spaces before kube-controller-manager does"},
	{"pods: get", "it notes on which nodes the pods are that use a claim"},
	{"authorization.k8s.io/subjectaccessreviews: create", "to see when a RoleBinding is in effect"},
	{"rbac.authorization.k8s.io/clusterroles [rel-space-dra-driver-controller]: get", "its own role owns the ResourceSlices"},
	{"events: create patch", "it reports to users of claims and pods"},
}

// inItsNamespace are the controller's rights in the release's namespace.
var inItsNamespace = []right{
	{"coordination.k8s.io/leases: create", "leader election"},
	{"coordination.k8s.io/leases [rel-space-dra-driver-controller]: get update", "leader election"},
	{"configmaps [kube-root-ca.crt]: list watch", "it copies this one into spaces"},
}

// ofThePlugin are the kubelet plugin's rights.
var ofThePlugin = []right{
	{"resource.k8s.io/resourceclaims: get watch", "it waits for claims to become ready"},
	{"resource.k8s.io/resourceslices: list watch create update delete", "it publishes its node's part of pools per node; a policy keeps it to that"},
	{"nodes: get list watch", "tokens are bound to its Node, which owns the slices and has the labels that pools select nodes by"},
	{"serviceaccounts/token [space]: create", "it gets the tokens of spaces; a policy keeps it to those in use on its node"},
	{"events: create patch", "it tells users when a token can't be renewed, or is for another space; a policy keeps it to that"},
}

// ofTheUninstallCheck are the rights of the Job of helm uninstall, while it runs.
var ofTheUninstallCheck = []right{
	{"namespaces: list", "it lists the spaces that exist"},
	{"resource.k8s.io/resourceclaims: list", "and the claims that have one"},
}

const controllerRole, pluginRole = "ClusterRole/" + controllerName, "ClusterRole/" + pluginName

func TestRBAC_hasTheListedRulesOnly(t *testing.T) {
	t.Parallel()
	roles := rolesOf(t, nil)
	for role, want := range map[string][]right{
		controllerRole:           ofTheController,
		"Role/" + controllerName: inItsNamespace,
		"Role/" + controllerName + "-endpoints in default": {
			{"discovery.k8s.io/endpointslices [kubernetes]: list watch", "network policies let pods reach the API server"},
		},
		pluginRole:                     ofThePlugin,
		"ClusterRole/" + uninstallName: ofTheUninstallCheck,
	} {
		sameRights(t, role, roles[role], want)
		delete(roles, role)
	}
	for role, rules := range roles {
		t.Errorf("the chart has a role that is not on the list: %s: %q", role, rules)
	}
}

func TestRBAC_ofOptionsHasTheListedRulesOnly(t *testing.T) {
	t.Parallel()
	usual := rolesOf(t, nil)
	for _, test := range []struct {
		values values
		role   string
		// bindable are the ClusterRoles that the controller may bind.
		bindable string
		more     []right
	}{
		{at("space.allowedClusterRoles", []any{"admin"}), controllerRole, "[edit view admin]", []right{
			{"rbac.authorization.k8s.io/rolebindings: list patch delete", "tenants may bind: what they gave ends with the space"},
		}},
		{at("space.clusterWideRoles", []any{"reader"}), controllerRole, "[edit view reader]", []right{
			{"rbac.authorization.k8s.io/clusterrolebindings: get list watch create delete", "one for each space and role; a policy keeps it to those"},
			{"rbac.authorization.k8s.io/rolebindings: list patch delete", "tenants may bind: what they gave ends with the space"},
		}},
		{at("space.copyFromNamespaces", []any{"templates"}), controllerRole, "[edit view]", []right{
			{"secrets: create patch", "copies; policies keep them to spaces, and patch to copies"},
			{"configmaps: patch", "copies; a policy keeps it to those"},
			{"serviceaccounts [default]: patch", "pods that name no ServiceAccount pull images with the copies"},
		}},
		{at("space.copyFromNamespaces", []any{"templates"}), "Role/" + controllerName + "-templates in templates", "", []right{{"secrets configmaps: get", "these are copied"}}},
		{at("rbac.viewerRole.create", true), "ClusterRole/rel-space-dra-driver-viewer", "", []right{
			{"resource.k8s.io/resourceclaims resource.k8s.io/resourceslices resource.k8s.io/deviceclasses: get list watch", "kubectl space shows claims, whether pools are full, and knows classes"},
			{"namespaces resourcequotas pods events: get list watch", "it shows deprovisioned spaces, used quotas, pods and events"},
		}},
		{at("metrics.secure.enabled", true), "ClusterRole/rel-space-dra-driver-metrics-auth", "", []right{
			{"authentication.k8s.io/tokenreviews: create", "both components authenticate readers of metrics"},
			{"authorization.k8s.io/subjectaccessreviews: create", "and authorize them"},
		}},
		{at("metrics.secure.enabled", true), "ClusterRole/rel-space-dra-driver-metrics-reader", "", []right{{"/metrics: get", "for Prometheus; an administrator binds it"}}},
	} {
		want := test.more
		for _, rule := range usual[test.role] {
			want = append(want, right{rule: strings.ReplaceAll(rule, "[edit view]", test.bindable)})
		}
		sameRights(t, fmt.Sprintf("%s with %v", test.role, test.values), rolesOf(t, test.values)[test.role], want)
	}
}

func sameRights(t *testing.T, role string, rules []string, want []right) {
	t.Helper()
	listed := map[string]bool{}
	for _, r := range want {
		listed[r.rule] = true
		if !slices.Contains(rules, r.rule) {
			t.Errorf("%s: the list has a right that the chart does not give: %s", role, r.rule)
		}
	}
	for _, rule := range rules {
		if !listed[rule] {
			t.Errorf("%s: the chart gives a right that is not on the list with its reason: %s", role, rule)
		}
		for _, never := range []string{"*", "escalate", "impersonate", "deletecollection", "resourceclaims/binding"} {
			if strings.Contains(rule, never) {
				t.Errorf("%s: %s: must never have %s", role, rule, never)
			}
		}
		if strings.HasSuffix(rule, " bind") && !strings.Contains(rule, "[") {
			t.Errorf("%s: %s: may bind any role", role, rule)
		}
	}
}

// rolesOf returns the rules of all roles in the chart, by kind and name as in objects.
func rolesOf(t *testing.T, v values) map[string][]string {
	t.Helper()
	roles := map[string][]string{}
	rendered := render(t, v)
	for key, found := range rendered {
		if kind := found.GetKind(); kind == "Role" || kind == "ClusterRole" {
			for _, rule := range object[rbacv1.ClusterRole](t, rendered, key).Rules {
				roles[key] = append(roles[key], sayRule(rule))
			}
		}
	}
	return roles
}

// sayRule is a rule in one line: what it is about, [names], and verbs. The group is
// said of what is not in the core group.
func sayRule(rule rbacv1.PolicyRule) string {
	var about []string
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			about = append(about, strings.TrimPrefix(group+"/"+resource, "/"))
		}
	}
	about = append(about, rule.NonResourceURLs...)
	out := strings.Join(about, " ")
	if len(rule.ResourceNames) > 0 {
		out += " [" + strings.Join(rule.ResourceNames, " ") + "]"
	}
	return out + ": " + strings.Join(rule.Verbs, " ")
}

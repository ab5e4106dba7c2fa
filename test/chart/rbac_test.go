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

// permission is a rule of a role, and the reason why the component needs it.
type permission struct{ rule, reason string }

// controllerPermissions are the controller's permissions in the whole cluster.
var controllerPermissions = []permission{
	{"resource.k8s.io/resourceclaims: get list watch", "it watches all claims, and reads one before it deprovisions the space"},
	{"resource.k8s.io/resourceclaims/status: update", "it writes status.devices; a policy denies other changes"},
	{"resource.k8s.io/resourceclaims/driver [space.resource.example.com]: arbitrary-node:update", "from Kubernetes 1.36 on, that write also needs this"},
	{"resource.k8s.io/resourceslices: list watch create update delete", "it publishes the pools; a policy restricts it to this driver"},
	{"namespaces: get list watch create patch delete", "spaces are namespaces; a policy restricts it to those"},
	{"serviceaccounts [space]: get list watch delete", "it manages those in spaces"},
	{"rbac.authorization.k8s.io/rolebindings [space space-2 space-3 space-4 space-5 space-6 space-7 space-8 " +
		"space-access-1 space-access-2 space-access-3 space-access-4 space-access-5 space-access-6 space-access-7 space-access-8]: get list watch patch delete", "it manages those in spaces"},
	{"serviceaccounts: create", "RBAC cannot restrict create by name; a policy does"},
	{"rbac.authorization.k8s.io/rolebindings: create", "the same"},
	{"resourcequotas limitranges [space]: get list watch update", "it manages those in spaces"},
	{"resourcequotas/status [space]: update", "Kubernetes enforces a new quota when its status has the limits"},
	{"networking.k8s.io/networkpolicies [space]: get list watch update", "it manages those in spaces"},
	{"resourcequotas limitranges: create", "RBAC cannot restrict create by name; a policy does"},
	{"networking.k8s.io/networkpolicies: create", "the same"},
	{"rbac.authorization.k8s.io/clusterroles [edit view]: list watch bind", "it binds these, and no others, in spaces"},
	{"configmaps: create", "it creates kube-root-ca.crt in spaces before kube-controller-manager does"},
	{"pods: get", "it records the nodes of the pods that use a claim"},
	{"authorization.k8s.io/subjectaccessreviews: create", "it checks when a RoleBinding takes effect"},
	{"rbac.authorization.k8s.io/clusterroles [rel-space-dra-driver-controller]: get", "its ClusterRole is the owner of the ResourceSlices"},
	{"events: create patch", "it reports to users"},
}

// controllerNamespacePermissions are the controller's permissions in the release's namespace.
var controllerNamespacePermissions = []permission{
	{"coordination.k8s.io/leases: create", "leader election"},
	{"coordination.k8s.io/leases [rel-space-dra-driver-controller]: get update", "leader election"},
	{"configmaps [kube-root-ca.crt]: list watch", "it copies this ConfigMap into spaces"},
}

// pluginPermissions are the kubelet plugin's permissions.
var pluginPermissions = []permission{
	{"resource.k8s.io/resourceclaims: get watch", "it waits until claims are ready"},
	{"resource.k8s.io/resourceslices: list watch create update delete", "it publishes its node's part of pools per node; a policy restricts it to that"},
	{"nodes: get list watch", "tokens are bound to its Node, which owns the slices, and whose labels pools select"},
	{"serviceaccounts/token [space]: create", "it requests tokens of spaces; a policy restricts it to those in use on its node"},
	{"events: create patch", "it reports to users; a policy restricts it to events about claims"},
}

// uninstallPermissions are the permissions of the Job of helm uninstall, while it runs.
var uninstallPermissions = []permission{
	{"namespaces: list", "it lists the spaces that exist"},
	{"resource.k8s.io/resourceclaims: list", "and the claims that have one"},
}

const controllerRole, pluginRole = "ClusterRole/" + controllerName, "ClusterRole/" + pluginName

func TestRBAC_hasTheListedRulesOnly(t *testing.T) {
	t.Parallel()
	roles := rolesOf(t, nil)
	for role, want := range map[string][]permission{
		controllerRole:           controllerPermissions,
		"Role/" + controllerName: controllerNamespacePermissions,
		"Role/" + controllerName + "-endpoints in default": {
			{"discovery.k8s.io/endpointslices [kubernetes]: list watch", "NetworkPolicies allow the addresses of the API server"},
		},
		pluginRole:                     pluginPermissions,
		"ClusterRole/" + uninstallName: uninstallPermissions,
	} {
		checkPermissions(t, role, roles[role], want)
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
		more     []permission
	}{
		{at("space.allowedClusterRoles", []any{"admin"}), controllerRole, "[edit view admin]", []permission{
			{"rbac.authorization.k8s.io/rolebindings: list patch delete", "tenants may create RoleBindings; it revokes them with the space"},
		}},
		{at("space.clusterWideRoles", []any{"reader"}), controllerRole, "[edit view reader]", []permission{
			{"rbac.authorization.k8s.io/clusterrolebindings: get list watch create delete", "one for each space and role; a policy restricts it to those"},
			{"rbac.authorization.k8s.io/rolebindings: list patch delete", "tenants may create RoleBindings; it revokes them with the space"},
		}},
		{at("space.copyFromNamespaces", []any{"originals"}), controllerRole, "[edit view]", []permission{
			{"secrets: create patch", "copies; policies restrict it to spaces, and patch to copies"},
			{"configmaps: patch", "copies; a policy restricts it to those"},
			{"serviceaccounts [default]: patch", "pods that name no ServiceAccount pull images with the copies"},
		}},
		{at("space.copyFromNamespaces", []any{"originals"}), "Role/" + controllerName + "-copy-sources in originals", "", []permission{{"secrets configmaps: get", "these are copied"}}},
		{at("rbac.viewerRole.create", true), "ClusterRole/rel-space-dra-driver-viewer", "", []permission{
			{"resource.k8s.io/resourceclaims resource.k8s.io/resourceslices resource.k8s.io/deviceclasses: get list watch", "kubectl space shows claims, pools and DeviceClasses"},
			{"namespaces resourcequotas pods events: get list watch", "it shows deprovisioned spaces, used quotas, pods and events"},
		}},
		{at("metrics.secure.enabled", true), "ClusterRole/rel-space-dra-driver-metrics-auth", "", []permission{
			{"authentication.k8s.io/tokenreviews: create", "both components authenticate readers of metrics"},
			{"authorization.k8s.io/subjectaccessreviews: create", "and authorize them"},
		}},
		{at("metrics.secure.enabled", true), "ClusterRole/rel-space-dra-driver-metrics-reader", "", []permission{{"/metrics: get", "for Prometheus; an administrator binds it"}}},
	} {
		want := test.more
		for _, rule := range usual[test.role] {
			want = append(want, permission{rule: strings.ReplaceAll(rule, "[edit view]", test.bindable)})
		}
		checkPermissions(t, fmt.Sprintf("%s with %v", test.role, test.values), rolesOf(t, test.values)[test.role], want)
	}
}

func checkPermissions(t *testing.T, role string, rules []string, want []permission) {
	t.Helper()
	listed := map[string]bool{}
	for _, r := range want {
		listed[r.rule] = true
		if !slices.Contains(rules, r.rule) {
			t.Errorf("%s: the list has a permission that the chart does not grant: %s", role, r.rule)
		}
	}
	for _, rule := range rules {
		if !listed[rule] {
			t.Errorf("%s: the chart grants a permission that is not on the list with its reason: %s", role, rule)
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
				roles[key] = append(roles[key], formatRule(rule))
			}
		}
	}
	return roles
}

// formatRule returns a rule as one line: resources, with their groups except the core group, [names],
// and verbs.
func formatRule(rule rbacv1.PolicyRule) string {
	var resources []string
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resources = append(resources, strings.TrimPrefix(group+"/"+resource, "/"))
		}
	}
	resources = append(resources, rule.NonResourceURLs...)
	out := strings.Join(resources, " ")
	if len(rule.ResourceNames) > 0 {
		out += " [" + strings.Join(rule.ResourceNames, " ") + "]"
	}
	return out + ": " + strings.Join(rule.Verbs, " ")
}

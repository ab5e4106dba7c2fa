// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// event creates an event about an object called mine, from a component on a node.
func (s *fixture) event(apiVersion, kind, component, node string) call {
	return post(core(s.ns, "events"), fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":"attempt"},
		"involvedObject":{"apiVersion":%q,"kind":%q,"namespace":%q,"name":"mine"},
		"source":{"component":%q,"host":%q},"reason":"Attempt","message":"x","type":"Normal"}`, apiVersion, kind, s.ns, component, node))
}

// publish creates a ResourceSlice of a driver for the nodes that a JSON field selects.
func publish(driver, nodes string) call { return post(framework.ResourceSlices, slice(driver, nodes)) }

// pluginToken uses the token of the first node's kubelet plugin.
func (s *fixture) pluginToken(t *actor) {
	env.Kubectl(t, "create", "serviceaccount", "space", "--namespace="+s.elsewhere)
	const driver = spaceapi.DefaultDriverName
	node, other := `"nodeName":"`+env.Node(0)+`"`, `"nodeName":"`+env.Node(1)+`"`
	bound := tokenFor("Node", env.Node(0), "")
	forCloud := strings.Replace(bound, `"spec":{`, `"spec":{"audiences":["sts.amazonaws.com"],`, 1)
	own, ownSlice := requestToken(s.mine.Namespace, "space", bound), publish(driver, node)
	event := s.event("resource.k8s.io/v1", "ResourceClaim", "space-kubeletplugin", env.Node(0))
	tokens := func(words string) denial { return by(policy("kubeletplugin-tokens"), words) }
	events, slices := by(policy("kubeletplugin-events"), "events about ResourceClaims"), by(policy("kubeletplugin-slices"), "on its own node")
	slicePath := func(i int) string { return framework.ResourceSlices + "/" + sliceOf(t.T, env.Node(i)) }
	t.testDenied(stolenFrom(t.T, s.plugins[0]), []attempt{
		{what: "Get a token of a space that no pod on its node uses", call: requestToken(s.others.Namespace, "space", bound), by: tokens("no pod on node " + env.Node(0)), instead: own},
		{what: "Get a token for another node", call: requestToken(s.mine.Namespace, "space", tokenFor("Node", env.Node(1), "")), by: tokens("bound to its own Node"), instead: own},
		{what: "Get a token that is bound to no node", call: requestToken(s.mine.Namespace, "space", unbound), by: tokens("bound to its own Node"), instead: own},
		{what: "Get a token for a cloud or another service that trusts the cluster's issuer", call: requestToken(s.mine.Namespace, "space", forCloud), by: tokens("for the audiences of the API server"), instead: own},
		{what: "Get a token of a ServiceAccount `space` in a namespace that is not a space", call: requestToken(s.elsewhere, "space", bound), by: tokens("in namespaces of spaces"), instead: own},
		{what: "Get a token of another ServiceAccount of a space", call: requestToken(s.mine.Namespace, "default", bound), instead: own},
		{what: "Get a token of a ServiceAccount of kube-system", call: requestToken(system, "namespace-controller", bound)},
		{what: "Get a token of the driver's controller", call: requestToken(driverNS, framework.ControllerName, bound)},
		{what: "Read Secrets of a space on its node", call: get(core(s.mine.Namespace, "secrets"))},
		{what: "Read a pod", call: get(core(s.ns, "pods/mine"))},
		{what: "Change a claim", call: patch(claims(s.ns, "mine"), touched), instead: get(claims(s.ns, "mine"))},
		{what: "Change the status of a claim", call: patch(claims(s.ns, "mine/status"), `{"status":{"devices":null}}`)},
		{what: "Change the metadata of a space", call: patch(framework.NamespacePath(s.others.Namespace), touched)},
		{what: "Create an event about an object other than a claim", call: s.event("v1", "Pod", "space-kubeletplugin", env.Node(0)), by: events, instead: event},
		{what: "Create an event as the kubelet plugin of another node", call: s.event("resource.k8s.io/v1", "ResourceClaim", "space-kubeletplugin", env.Node(1)), by: events, instead: event},
		{what: "Change its node", call: patch("/api/v1/nodes/"+env.Node(0), touched)},
		{what: "Publish devices for another node", call: publish(driver, other), by: slices, instead: ownSlice},
		{what: "Publish devices for all nodes", call: publish(driver, `"allNodes":true`), by: slices, instead: ownSlice},
		{what: "Publish devices of another driver", call: publish("gpu.example.com", node), by: slices, instead: ownSlice},
		{what: "Delete a ResourceSlice of another node", call: remove(slicePath(1)), by: slices, instead: remove(slicePath(0))},
	})
}

// sliceOf waits for a ResourceSlice of a node's kubelet plugin, and returns its name.
func sliceOf(t *testing.T, node string) string {
	t.Helper()
	return framework.AwaitAny(t, env.Client.ResourceV1().RESTClient(), "resourceslices", "", framework.That("of the kubelet plugin on "+node, func(s *resourceapi.ResourceSlice) bool {
		return s.Spec.Driver == spaceapi.DefaultDriverName && ptr.Deref(s.Spec.NodeName, "") == node
	})).Name
}

// controllerToken uses a token that is bound to the leader's pod.
func (s *fixture) controllerToken(t *actor) {
	const key = spaceapi.DefaultDriverName + "/"
	mine := s.mine.Namespace
	create := func(metadata string) call {
		return post(framework.NamespacePath(""), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"attempt"`+metadata+`}}`)
	}
	configMap := func(namespace string) call {
		return post(core(namespace, "configmaps"), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"attempt"}}`)
	}
	space := func(podSecurity string) call {
		return create(`,"labels":{"` + key + `claim-uid":"x","` + key + `allocation-id":"x","pod-security.kubernetes.io/enforce":"` + podSecurity + `"},
			"annotations":{"` + key + `claim-namespace":"x","` + key + `claim-name":"x","` + key + `request":"x"}`)
	}
	annotated := patch(framework.NamespacePath(mine), `{"metadata":{"annotations":{"`+key+`retained-until":"2030-01-01T00:00:00Z"}}}`)
	unchanged, reserved := s.claimStatus(t.T, func(*resourceapi.ResourceClaim) {}), s.claimStatus(t.T, func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: "attempt", UID: "attempt"})
	})
	deallocated := s.claimStatus(t.T, func(c *resourceapi.ResourceClaim) {
		c.Status.Allocation, c.Status.ReservedFor, c.Status.Devices = nil, nil, nil
	})
	event := s.event("v1", "Pod", "space-controller", "")
	rule := func(name, words string) denial { return by(policy("controller-"+name), words) }
	bound := by("is forbidden", `cannot update resource "resourceclaims/binding"`)
	if !env.AtLeast("1.36") {
		bound = rule("claims", "only change status.devices")
	}
	namespaces, events := rule("namespaces", "update and delete namespaces of spaces"), rule("events", "events about ResourceClaims, pods and namespaces")
	t.testDenied(env.AsPod(t.T, s.controller), []attempt{
		{what: "Create a namespace that is not a space", call: create(""), by: rule("namespaces", "namespaces with the metadata of a space"), instead: space("baseline")},
		{what: "Create a space with a less strict Pod Security Standard than the Helm values allow", call: space("privileged"), by: rule("namespaces", "that the Helm values allow"),
			asAdmin: create(`,"labels":{"pod-security.kubernetes.io/enforce":"privileged"}`)},
		{what: "Delete a namespace that is not a space", call: remove(framework.NamespacePath(s.elsewhere)), by: namespaces, instead: remove(framework.NamespacePath(mine))},
		{what: "Change a namespace that is not a space", call: patch(framework.NamespacePath(system), lowered), by: namespaces, instead: annotated},
		{what: "Lower the Pod Security Standard of a space", call: patch(framework.NamespacePath(mine), lowered), by: rule("namespaces", "not change labels"), instead: annotated},
		{what: "Grant permissions outside spaces", call: bind(system, "space", "edit", system, "space"), by: rule("rolebindings", "write in namespaces of spaces")},
		{what: "Grant permissions in a space to another user", call: bind(mine, "space", "edit", s.ns, "default"), by: rule("rolebindings", "the space's own ServiceAccount")},
		{what: "Bind a role that the Helm values do not allow", call: bind(mine, "space", "cluster-admin", mine, "space"), by: escalation},
		{what: "Grant a space permissions in the whole cluster", call: bindAll("view", mine)},
		{what: "Change its own ClusterRole", call: patch("/apis/rbac.authorization.k8s.io/v1/clusterroles/"+framework.ControllerName, touched)},
		{what: "Remove an admission policy", call: remove("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/space-dra-driver-space-metadata")},
		{what: "Read Secrets", call: get(core(mine, "secrets"))},
		{what: "List pods", call: get(core(s.ns, "pods")), instead: get(core(s.ns, "pods/mine"))},
		{what: "Run a pod in a space", call: post(core(mine, "pods"), podWith("", ""))},
		{what: "Run a command in a pod", call: post(core(s.ns, "pods/mine/exec?command=id&container=ctr&stdout=true"), "")},
		{what: "Get a token of a space", call: requestToken(mine, "space", unbound)},
		{what: "Impersonate a space", call: as("system:serviceaccount:"+mine+":space", get(core(mine, "pods"))), by: notAs},
		{what: "Create objects in a namespace that is not a space", call: configMap(system), by: rule("objects", "write in namespaces of spaces"), instead: configMap(mine)},
		{what: "Reserve a claim for another pod", call: reserved, by: bound, instead: unchanged},
		{what: "Deallocate a claim", call: deallocated, by: bound, instead: unchanged},
		{what: "Delete a claim", call: remove(claims(s.ns, "mine"))},
		{what: "Publish devices of another driver", call: publish("gpu.example.com", `"allNodes":true`), by: rule("slices", "ResourceSlices of driver "),
			instead: publish(spaceapi.DefaultDriverName, `"allNodes":true`)},
		{what: "Create an event about an object other than claims, pods and spaces", call: s.event("v1", "Secret", "space-controller", ""), by: events, instead: event},
		{what: "Create an event as another component", call: s.event("v1", "Pod", "kubelet", ""), by: events, instead: event},
	})
}

// claimStatus changes the status of claim mine.
func (s *fixture) claimStatus(t *testing.T, change func(*resourceapi.ResourceClaim)) call {
	t.Helper()
	claim, err := env.Client.ResourceV1().ResourceClaims(s.ns).Get(t.Context(), "mine", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Without a resource version, the update causes no conflict.
	claim.ResourceVersion = ""
	claim.TypeMeta = metav1.TypeMeta{APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim"}
	change(claim)
	return framework.Put(claims(s.ns, "mine/status"), framework.JSON(claim))
}

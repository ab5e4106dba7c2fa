// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// record creates an event about an object called mine, from a component on a node.
func (s *stage) record(apiVersion, kind, component, node string) call {
	return post(core(s.ns, "events"), fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":"attempt"},
		"involvedObject":{"apiVersion":%q,"kind":%q,"namespace":%q,"name":"mine"},
		"source":{"component":%q,"host":%q},"reason":"Attempt","message":"x","type":"Normal"}`, apiVersion, kind, s.ns, component, node))
}

// offer publishes devices of a driver for the nodes that a field names.
func offer(driver, nodes string) call { return post(framework.ResourceSlices, slice(driver, nodes)) }

// pluginToken has the token of the first node's plugin.
func (s *stage) pluginToken(t *testing.T) {
	env.Kubectl(t, "create", "serviceaccount", "space", "--namespace="+s.elsewhere)
	const driver = spaceapi.DefaultDriverName
	node, other := `"nodeName":"`+env.Node(0)+`"`, `"nodeName":"`+env.Node(1)+`"`
	bound := tokenFor("Node", env.Node(0), "")
	forCloud := strings.Replace(bound, `"spec":{`, `"spec":{"audiences":["sts.amazonaws.com"],`, 1)
	own, ownSlice := mint(s.mine.Namespace, "space", bound), offer(driver, node)
	event := s.record("resource.k8s.io/v1", "ResourceClaim", "space-kubeletplugin", env.Node(0))
	tokens := func(words string) denial { return by(policy("kubeletplugin-tokens"), words) }
	events, slices := by(policy("kubeletplugin-events"), "events about ResourceClaims"), by(policy("kubeletplugin-slices"), "on its own node")
	slicePath := func(i int) string { return framework.ResourceSlices + "/" + sliceOf(t, env.Node(i)) }
	refusedTo(t, stolenFrom(t, s.plugins[0]), []attempt{
		{what: "get a token of a space that no pod on its node uses", call: mint(s.others.Namespace, "space", bound), by: tokens("no pod on node " + env.Node(0)), instead: own},
		{what: "get a token for another node", call: mint(s.mine.Namespace, "space", tokenFor("Node", env.Node(1), "")), by: tokens("bound to its own Node"), instead: own},
		{what: "get a token that is bound to no node", call: mint(s.mine.Namespace, "space", unbound), by: tokens("bound to its own Node"), instead: own},
		{what: "get a token for a cloud", call: mint(s.mine.Namespace, "space", forCloud), by: tokens("for the audiences of the API server"), instead: own},
		{what: "get a token of a ServiceAccount space that is not a space's", call: mint(s.elsewhere, "space", bound), by: tokens("in namespaces of spaces"), instead: own},
		{what: "get a token of another ServiceAccount of a space", call: mint(s.mine.Namespace, "default", bound), instead: own},
		{what: "get a token of a ServiceAccount of kube-system", call: mint(system, "namespace-controller", bound)},
		{what: "get a token of the driver's controller", call: mint(driverNS, framework.ControllerName, bound)},
		{what: "read Secrets of a space on its node", call: get(core(s.mine.Namespace, "secrets"))},
		{what: "read a pod", call: get(core(s.ns, "pods/mine"))},
		{what: "change a claim", call: patch(claims(s.ns, "mine"), touched), instead: get(claims(s.ns, "mine"))},
		{what: "change what a claim says about its space", call: patch(claims(s.ns, "mine/status"), `{"status":{"devices":null}}`)},
		{what: "change the record of a space", call: patch(framework.NamespacePath(s.others.Namespace), touched)},
		{what: "record an event about something else than a claim", call: s.record("v1", "Pod", "space-kubeletplugin", env.Node(0)), by: events, instead: event},
		{what: "record an event as another node's plugin", call: s.record("resource.k8s.io/v1", "ResourceClaim", "space-kubeletplugin", env.Node(1)), by: events, instead: event},
		{what: "change its node", call: patch("/api/v1/nodes/"+env.Node(0), touched)},
		{what: "offer devices of another node", call: offer(driver, other), by: slices, instead: ownSlice},
		{what: "offer devices of no node", call: offer(driver, `"allNodes":true`), by: slices, instead: ownSlice},
		{what: "offer devices of another driver", call: offer("gpu.example.com", node), by: slices, instead: ownSlice},
		{what: "withdraw devices of another node", call: remove(slicePath(1)), by: slices, instead: remove(slicePath(0))},
	})
}

// sliceOf returns the name of a ResourceSlice that the plugin of a node published.
func sliceOf(t *testing.T, node string) string {
	t.Helper()
	published, err := env.Client.ResourceV1().ResourceSlices().List(t.Context(), metav1.ListOptions{
		FieldSelector: resourceapi.ResourceSliceSelectorNodeName + "=" + node + "," + resourceapi.ResourceSliceSelectorDriver + "=" + spaceapi.DefaultDriverName,
	})
	if err != nil || len(published.Items) == 0 {
		t.Fatalf("the plugin of node %s has published nothing: error %v", node, err)
	}
	return published.Items[0].Name
}

// controllerToken has a token as the leading controller's pod gets it.
func (s *stage) controllerToken(t *testing.T) {
	const key = spaceapi.DefaultDriverName + "/"
	mine := s.mine.Namespace
	create := func(metadata string) call {
		return post(framework.NamespacePath(""), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"attempt"`+metadata+`}}`)
	}
	configMap := func(namespace string) call {
		return post(core(namespace, "configmaps"), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"attempt"}}`)
	}
	recorded := func(podSecurity string) call {
		return create(`,"labels":{"` + key + `claim-uid":"x","` + key + `allocation-id":"x","pod-security.kubernetes.io/enforce":"` + podSecurity + `"},
			"annotations":{"` + key + `claim-namespace":"x","` + key + `claim-name":"x","` + key + `request":"x"}`)
	}
	noted := patch(framework.NamespacePath(mine), `{"metadata":{"annotations":{"`+key+`retained-until":"2030-01-01T00:00:00Z"}}}`)
	unchanged, reserved := s.claimStatus(t, func(*resourceapi.ResourceClaim) {}), s.claimStatus(t, func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: "attempt", UID: "attempt"})
	})
	moved := s.claimStatus(t, func(c *resourceapi.ResourceClaim) {
		c.Status.Allocation, c.Status.ReservedFor, c.Status.Devices = nil, nil, nil
	})
	event := s.record("v1", "Pod", "space-controller", "")
	rule := func(name, words string) denial { return by(policy("controller-"+name), words) }
	bound := by("is forbidden", `cannot update resource "resourceclaims/binding"`)
	if !env.AtLeast("1.36") {
		bound = rule("claims", "only change status.devices")
	}
	namespaces, events := rule("namespaces", "update and delete namespaces of spaces"), rule("events", "events about ResourceClaims, pods and namespaces")
	refusedTo(t, env.AsPod(t, s.controller), []attempt{
		{what: "make a namespace that is no space", call: create(""), by: rule("namespaces", "namespaces with the metadata of a space"), instead: recorded("baseline")},
		{what: "make a space with a laxer Pod Security Standard than the installation allows", call: recorded("privileged"), by: rule("namespaces", "that the Helm values allow"),
			asAdmin: create(`,"labels":{"pod-security.kubernetes.io/enforce":"privileged"}`)},
		{what: "delete a namespace that is no space", call: remove(framework.NamespacePath(s.elsewhere)), by: namespaces, instead: remove(framework.NamespacePath(mine))},
		{what: "change a namespace that is no space", call: patch(framework.NamespacePath(system), lowered), by: namespaces, instead: noted},
		{what: "lower the Pod Security Standard of a space", call: patch(framework.NamespacePath(mine), lowered), by: rule("namespaces", "not change labels"), instead: noted},
		{what: "give rights outside spaces", call: bind(system, "space", "edit", system, "space"), by: rule("rolebindings", "write in namespaces of spaces")},
		{what: "give rights in a space to somebody else", call: bind(mine, "space", "edit", s.ns, "default"), by: rule("rolebindings", "the space's own ServiceAccount")},
		{what: "give a space a role that it may not give", call: bind(mine, "space", "cluster-admin", mine, "space"), by: escalation},
		{what: "give rights in the whole cluster to a space", call: bindAll("view", mine)},
		{what: "change its own ClusterRole", call: patch("/apis/rbac.authorization.k8s.io/v1/clusterroles/"+framework.ControllerName, touched)},
		{what: "remove an admission policy", call: remove("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/space-dra-driver-space-metadata")},
		{what: "read Secrets", call: get(core(mine, "secrets"))},
		{what: "list pods", call: get(core(s.ns, "pods")), instead: get(core(s.ns, "pods/mine"))},
		{what: "run a pod in a space", call: post(core(mine, "pods"), podWith("", ""))},
		{what: "run a command in a pod", call: post(core(s.ns, "pods/mine/exec?command=id&container=ctr&stdout=true"), "")},
		{what: "get a token of a space", call: mint(mine, "space", unbound)},
		{what: "impersonate a space", call: as("system:serviceaccount:"+mine+":space", get(core(mine, "pods"))), by: notAs},
		{what: "write into a namespace that is no space", call: configMap(system), by: rule("objects", "write in namespaces of spaces"), instead: configMap(mine)},
		{what: "give a claim to another pod", call: reserved, by: bound, instead: unchanged},
		{what: "take back an allocation", call: moved, by: bound, instead: unchanged},
		{what: "delete a claim", call: remove(claims(s.ns, "mine"))},
		{what: "offer devices of another driver", call: offer("gpu.example.com", `"allNodes":true`), by: rule("slices", "ResourceSlices of driver "),
			instead: offer(spaceapi.DefaultDriverName, `"allNodes":true`)},
		{what: "record an event about something else than claims, pods and spaces", call: s.record("v1", "Secret", "space-controller", ""), by: events, instead: event},
		{what: "record an event as another component", call: s.record("v1", "Pod", "kubelet", ""), by: events, instead: event},
	})
}

// claimStatus is a write of the status of claim mine, with a change to it.
func (s *stage) claimStatus(t *testing.T, change func(*resourceapi.ResourceClaim)) call {
	t.Helper()
	claim, err := env.Client.ResourceV1().ResourceClaims(s.ns).Get(t.Context(), "mine", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Without a version, the write meets no conflict.
	claim.ResourceVersion = ""
	claim.TypeMeta = metav1.TypeMeta{APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim"}
	change(claim)
	return framework.Put(claims(s.ns, "mine/status"), framework.JSON(claim))
}

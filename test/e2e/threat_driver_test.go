// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

var getOptions = metav1.GetOptions{}

// eventAbout is the body of an event about an object, from a component on a node.
func eventAbout(namespace, apiVersion, kind, name, component, node string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Event","metadata":{"name":"attempt"},
		"involvedObject":{"apiVersion":%q,"kind":%q,"namespace":%q,"name":%q},
		"source":{"component":%q,"host":%q},"reason":"Attempt","message":"x","type":"Normal"}`, apiVersion, kind, namespace, name, component, node)
}

// pluginToken has the token of the first node's plugin.
func (s *stage) pluginToken(t *testing.T) {
	env.Kubectl(t, "create", "serviceaccount", "space", "--namespace="+s.elsewhere)
	mint := func(namespace, kind, name string) call {
		return post(core(namespace, "serviceaccounts/space/token"), tokenFor(kind, name, ""))
	}
	event := func(apiVersion, kind, node string) call {
		return post(core(s.ns, "events"), eventAbout(s.ns, apiVersion, kind, "mine", "space-kubeletplugin", node))
	}
	const tokens, events, slices = "kubeletplugin-tokens", "kubeletplugin-events", "kubeletplugin-slices"
	const ownSlices = "on its own node"
	ownSlice := post(framework.ResourceSlices, slice(spaceapi.DefaultDriverName, `"nodeName":"`+env.Node(0)+`"`))
	const eventsOnly = "events about ResourceClaims"
	own := mint(s.mine.Namespace, "Node", env.Node(0))
	refusedTo(t, stolenFrom(t, s.plugins[0]),
		attempt{
			what:    "get a token of a space that no pod on its node uses",
			call:    mint(s.others.Namespace, "Node", env.Node(0)),
			words:   byPolicy(tokens, "no pod on node "+env.Node(0)+" is known to use this space"),
			instead: own,
		},
		attempt{what: "get a token for another node", call: mint(s.others.Namespace, "Node", env.Node(1)), words: byPolicy(tokens, "bound to its own Node"), instead: own},
		attempt{what: "get a token that is bound to no node", call: mint(s.mine.Namespace, "", ""), words: byPolicy(tokens, "bound to its own Node"), instead: own},
		attempt{
			what:    "get a token of a ServiceAccount space that is not a space's",
			call:    mint(s.elsewhere, "Node", env.Node(0)),
			words:   byPolicy(tokens, "ServiceAccount space in namespaces of spaces"),
			instead: own,
		},
		attempt{
			what:    "get a token of another ServiceAccount of a space",
			call:    post(core(s.mine.Namespace, "serviceaccounts/default/token"), tokenFor("Node", env.Node(0), "")),
			words:   cannot("create", "serviceaccounts/token"),
			instead: own,
		},
		attempt{
			what:  "get a token of a ServiceAccount of kube-system",
			call:  post(core(metav1.NamespaceSystem, "serviceaccounts/namespace-controller/token"), tokenFor("Node", env.Node(0), "")),
			words: cannot("create", "serviceaccounts/token"),
		},
		attempt{
			what:  "get a token of the driver's controller",
			call:  post(core(driverNS, "serviceaccounts/"+framework.ControllerName+"/token"), tokenFor("Node", env.Node(0), "")),
			words: cannot("create", "serviceaccounts/token"),
		},
		attempt{what: "read Secrets of a space on its node", call: get(core(s.mine.Namespace, "secrets")), words: cannot("list", "secrets")},
		attempt{what: "read a pod", call: get(core(s.ns, "pods/mine")), words: cannot("get", "pods")},
		attempt{what: "change a claim", call: patch(claims(s.ns, "mine"), touched), words: cannot("patch", "resourceclaims"), instead: get(claims(s.ns, "mine"))},
		attempt{
			what:  "change what a claim says about its space",
			call:  patch(claims(s.ns, "mine/status"), `{"status":{"devices":null}}`),
			words: cannot("patch", "resourceclaims/status"),
		},
		attempt{what: "change the record of a space", call: patch(framework.NamespacePath(s.others.Namespace), touched), words: cannot("patch", "namespaces")},
		attempt{
			what:    "record an event about something else than a claim",
			call:    event("v1", "Pod", env.Node(0)),
			words:   byPolicy(events, eventsOnly),
			instead: event("resource.k8s.io/v1", "ResourceClaim", env.Node(0)),
		},
		attempt{
			what:    "record an event as another node's plugin",
			call:    event("resource.k8s.io/v1", "ResourceClaim", env.Node(1)),
			words:   byPolicy(events, eventsOnly),
			instead: event("resource.k8s.io/v1", "ResourceClaim", env.Node(0)),
		},
		attempt{what: "change its node", call: patch("/api/v1/nodes/"+env.Node(0), touched), words: cannot("patch", "nodes")},
		attempt{
			what:    "offer devices of another node",
			call:    post(framework.ResourceSlices, slice(spaceapi.DefaultDriverName, `"nodeName":"`+env.Node(1)+`"`)),
			words:   byPolicy(slices, ownSlices),
			instead: ownSlice,
		},
		attempt{
			what:    "offer devices of no node",
			call:    post(framework.ResourceSlices, slice(spaceapi.DefaultDriverName, `"allNodes":true`)),
			words:   byPolicy(slices, ownSlices),
			instead: ownSlice,
		},
		attempt{
			what:    "offer devices of another driver",
			call:    post(framework.ResourceSlices, slice("gpu.example.com", `"nodeName":"`+env.Node(0)+`"`)),
			words:   byPolicy(slices, ownSlices),
			instead: ownSlice,
		},
		attempt{
			what:    "withdraw devices of another node",
			call:    remove(framework.ResourceSlices + "/" + sliceOf(t, env.Node(1))),
			words:   byPolicy(slices, ownSlices),
			instead: remove(framework.ResourceSlices + "/" + sliceOf(t, env.Node(0))),
		},
	)
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
	record := func(metadata string) call {
		return post("/api/v1/namespaces", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"attempt"`+metadata+`}}`)
	}
	bind := func(name, namespace, role, subjects, account string) call {
		return post(rbac(namespace, "rolebindings"), binding("RoleBinding", name, role, subjects, account))
	}
	const key = spaceapi.DefaultDriverName + "/"
	mine := s.mine.Namespace
	noted := patch(framework.NamespacePath(mine), `{"metadata":{"annotations":{"`+key+`retained-until":"2030-01-01T00:00:00Z"}}}`)
	const namespaces, contents, bindings = "controller-namespaces", "controller-objects", "controller-rolebindings"
	const ofSpaces = "update and delete namespaces of spaces"
	unchanged, reserved := s.claimStatus(t, func(*resourceapi.ResourceClaim) {}), s.claimStatus(t, func(c *resourceapi.ResourceClaim) {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: "attempt", UID: "attempt"})
	})
	moved := s.claimStatus(t, func(c *resourceapi.ResourceClaim) {
		c.Status.Allocation, c.Status.ReservedFor, c.Status.Devices = nil, nil, nil
	})
	event := func(apiVersion, kind, component string) call {
		return post(core(s.ns, "events"), eventAbout(s.ns, apiVersion, kind, "mine", component, ""))
	}
	const eventsOnly = "events about ResourceClaims, pods and namespaces"
	refusedTo(t, env.AsPod(t, s.controller),
		attempt{
			what:  "make a namespace that is no space",
			call:  record(""),
			words: byPolicy(namespaces, "namespaces with the metadata of a space"),
			instead: record(`,"labels":{"` + key + `claim-uid":"x","` + key + `allocation-id":"x"},
				"annotations":{"` + key + `claim-namespace":"x","` + key + `claim-name":"x","` + key + `request":"x"}`),
		},
		attempt{
			what:    "delete a namespace that is no space",
			call:    remove(framework.NamespacePath(s.elsewhere)),
			words:   byPolicy(namespaces, ofSpaces),
			instead: remove(framework.NamespacePath(mine)),
		},
		attempt{what: "change a namespace that is no space", call: patch(framework.NamespacePath(metav1.NamespaceSystem), lowered), words: byPolicy(namespaces, ofSpaces), instead: noted},
		attempt{what: "lower the Pod Security Standard of a space", call: patch(framework.NamespacePath(mine), lowered), words: byPolicy(namespaces, "not change labels"), instead: noted},
		attempt{
			what:  "give rights outside spaces",
			call:  bind("space", metav1.NamespaceSystem, "edit", metav1.NamespaceSystem, "space"),
			words: byPolicy(bindings, "write in namespaces of spaces"),
		},
		attempt{
			what:    "give rights in a space to somebody else",
			call:    bind("space", mine, "edit", s.ns, "default"),
			asAdmin: bind("attempt", mine, "edit", s.ns, "default"),
			words:   byPolicy(bindings, "the space's own ServiceAccount"),
		},
		attempt{
			what:    "give a space a role that it may not give",
			call:    bind("space", mine, "cluster-admin", mine, "space"),
			asAdmin: bind("attempt", mine, "cluster-admin", mine, "space"),
			words:   escalation,
		},
		attempt{
			what:  "give rights in the whole cluster to a space",
			call:  post(framework.ClusterRoleBindings, binding("ClusterRoleBinding", "attempt", "view", mine, "space")),
			words: cannot("create", "clusterrolebindings"),
		},
		attempt{
			what:  "change its own ClusterRole",
			call:  patch("/apis/rbac.authorization.k8s.io/v1/clusterroles/"+framework.ControllerName, touched),
			words: cannot("patch", "clusterroles"),
		},
		attempt{
			what:  "remove an admission policy",
			call:  remove("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/space-dra-driver-space-metadata"),
			words: cannot("delete", "validatingadmissionpolicies"),
		},
		attempt{what: "read Secrets", call: get(core(mine, "secrets")), words: cannot("list", "secrets")},
		attempt{what: "list pods", call: get(core(s.ns, "pods")), words: cannot("list", "pods"), instead: get(core(s.ns, "pods/mine"))},
		attempt{what: "run a pod in a space", call: post(core(mine, "pods"), podWith("", "")), words: cannot("create", "pods")},
		attempt{what: "run a command in a pod", call: post(core(s.ns, "pods/mine/exec?command=id&container=ctr&stdout=true"), ""), words: cannot("create", "pods/exec")},
		attempt{what: "get a token of a space", call: post(core(mine, "serviceaccounts/space/token"), tokenFor("", "", "")), words: cannot("create", "serviceaccounts/token")},
		attempt{what: "impersonate a space", call: as("system:serviceaccount:"+mine+":space", get(core(mine, "pods"))), words: notAs},
		attempt{
			what:    "write into a namespace that is no space",
			call:    post(core(metav1.NamespaceSystem, "configmaps"), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"attempt"}}`),
			words:   byPolicy(contents, "write in namespaces of spaces"),
			instead: post(core(mine, "configmaps"), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"attempt"}}`),
		},
		attempt{what: "give a claim to another pod", call: reserved, words: cannot("update", "resourceclaims/binding"), instead: unchanged},
		attempt{what: "take back an allocation", call: moved, words: cannot("update", "resourceclaims/binding"), instead: unchanged},
		attempt{what: "delete a claim", call: remove(claims(s.ns, "mine")), words: cannot("delete", "resourceclaims")},
		attempt{
			what:    "offer devices of another driver",
			call:    post(framework.ResourceSlices, slice("gpu.example.com", `"allNodes":true`)),
			words:   byPolicy("controller-slices", "ResourceSlices of driver "+spaceapi.DefaultDriverName),
			instead: post(framework.ResourceSlices, slice(spaceapi.DefaultDriverName, `"allNodes":true`)),
		},
		attempt{
			what:    "record an event about something else than claims, pods and spaces",
			call:    event("v1", "Secret", "space-controller"),
			words:   byPolicy("controller-events", eventsOnly),
			instead: event("v1", "Pod", "space-controller"),
		},
		attempt{
			what:    "record an event as another component",
			call:    event("v1", "Pod", "kubelet"),
			words:   byPolicy("controller-events", eventsOnly),
			instead: event("v1", "Pod", "space-controller"),
		},
	)
}

// claimStatus is a write of the status of claim mine, with a change to it.
func (s *stage) claimStatus(t *testing.T, change func(*resourceapi.ResourceClaim)) call {
	t.Helper()
	claim, err := env.Client.ResourceV1().ResourceClaims(s.ns).Get(t.Context(), "mine", getOptions)
	if err != nil {
		t.Fatal(err)
	}
	// Without a version, the write meets no conflict.
	claim.ResourceVersion = ""
	claim.TypeMeta = metav1.TypeMeta{APIVersion: resourceapi.SchemeGroupVersion.String(), Kind: "ResourceClaim"}
	change(claim)
	body, err := json.Marshal(claim)
	if err != nil {
		t.Fatal(err)
	}
	return framework.Put(claims(s.ns, "mine/status"), string(body))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// kubelet has what lies on the second node: the kubelet's certificate and key.
func (s *stage) kubelet(t *testing.T) {
	node := env.Cluster.Nodes()[1]
	file, err := framework.OnNode(t.Context(), node, "cat", "/var/lib/space-cluster/kubelet.kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(file))
	if err != nil {
		t.Fatal("the kubelet's kubeconfig can't be read")
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	others, err := client.CoreV1().Pods(s.elsewhere).Get(t.Context(), "others", getOptions)
	if err != nil {
		t.Fatalf("the kubelet does not see a pod of its own: %v", err)
	}
	itself, err := client.CoreV1().Nodes().Get(t.Context(), node.Name(), getOptions)
	if err != nil {
		t.Fatal(err)
	}
	// mirror is a pod that a node says it runs.
	mirror := func(spec string) call {
		return post(core(s.ns, "pods"), fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"attempt",
			"annotations":{"kubernetes.io/config.mirror":"x"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":%[1]q,"uid":%[2]q,"controller":true}]},
			"spec":{"nodeName":%[1]q,%[3]s"automountServiceAccountToken":false,"containers":[{"name":"ctr","image":"x"}]}}`, node.Name(), itself.UID, spec))
	}
	unrelated := []string{"is forbidden", "no relationship found between node '" + node.Name() + "' and this object"}
	refusedTo(t, client,
		attempt{what: "read a claim of another node's pod", call: get(claims(s.ns, "mine")), words: unrelated, instead: get(claims(s.elsewhere, "others"))},
		attempt{what: "get a token of a space of another node", call: post(core(s.mine.Namespace, "serviceaccounts/space/token"), tokenFor("", "", "")), words: unrelated},
		attempt{
			what:    "get a token of a space of its own node with the kubelet's certificate",
			call:    post(core(s.others.Namespace, "serviceaccounts/space/token"), tokenFor("", "", "")),
			words:   unrelated,
			instead: post(core(s.elsewhere, "serviceaccounts/default/token"), tokenFor("Pod", others.Name, others.UID)),
		},
		attempt{
			what:    "get the token of another node's plugin",
			call:    post(core(driverNS, "serviceaccounts/"+framework.PluginName+"/token"), tokenFor("Pod", s.plugins[0].Name, s.plugins[0].UID)),
			words:   []string{"node requested token bound to a pod scheduled on a different node"},
			instead: post(core(driverNS, "serviceaccounts/"+framework.PluginName+"/token"), tokenFor("Pod", s.plugins[1].Name, s.plugins[1].UID)),
		},
		attempt{
			what:  "get a token of its plugin that outlives the plugin's pod",
			call:  post(core(driverNS, "serviceaccounts/"+framework.PluginName+"/token"), tokenFor("", "", "")),
			words: []string{"node requested token not bound to a pod"},
		},
		attempt{what: "read another node's pod", call: get(core(s.ns, "pods/mine")), words: cannot("get", "pods"), instead: get(core(s.elsewhere, "pods/others"))},
		attempt{
			what:    "make up a pod that uses a claim of another node",
			call:    mirror(`"resourceClaims":[{"name":"mine","resourceClaimName":"mine"}],`),
			words:   []string{"can not create pods that reference resourceclaims"},
			instead: mirror(""),
			// Administrators may not create a mirror pod either, but one that Kubernetes schedules.
			asAdmin: post(core(s.ns, "pods"), podWith(`"resourceClaims":[{"name":"mine","resourceClaimName":"mine"}],`, "")),
		},
		attempt{what: "read Secrets of a space", call: get(core(s.others.Namespace, "secrets")), words: cannot("list", "secrets")},
		attempt{
			what:    "delete another node's pod",
			call:    remove(core(s.ns, "pods/mine")),
			words:   []string{"can only delete pods with spec.nodeName set to itself"},
			instead: remove(core(s.elsewhere, "pods/others")),
		},
		attempt{
			what:    "change another node",
			call:    patch("/api/v1/nodes/"+env.Node(0), touched),
			words:   []string{`is not allowed to modify node "` + env.Node(0) + `"`},
			instead: patch("/api/v1/nodes/"+env.Node(1), touched),
		},
		attempt{what: "change the status of a claim", call: patch(claims(s.elsewhere, "others/status"), `{"status":{"devices":null}}`), words: cannot("patch", "resourceclaims/status")},
		attempt{
			what:    "offer devices on another node",
			call:    post(framework.ResourceSlices, slice("space.resource.example.com", `"nodeName":"`+env.Node(0)+`"`)),
			words:   []string{"can only create ResourceSlice with the same NodeName as the requesting node"},
			instead: post(framework.ResourceSlices, slice("space.resource.example.com", `"nodeName":"`+env.Node(1)+`"`)),
		},
	)
	t.Run("find on its disk what is on another node's", s.notOnTheSecond)
}

// notOnTheSecond looks at the second node's disk for claim mine.
func (s *stage) notOnTheSecond(t *testing.T) {
	node := env.Cluster.Nodes()[1].Name()
	var first bool
	for _, trace := range env.TracesOf(t, s.claim.UID) {
		if trace.Node == node {
			t.Errorf("a node without a pod of the claim has %s", trace)
		}
		first = first || trace.Node == env.Node(0)
	}
	if !first {
		t.Error("the node with a pod of the claim has nothing of it either, so that it proves nothing")
	}
	// No file on it names the space.
	if files := onNode(t, 1, "sh", "-c", "grep -rl "+s.mine.Namespace+" /run/claim-artifacts /run/cdi /var/lib/kubelet/plugins 2>/dev/null; true"); files != "" {
		t.Errorf("a node without a pod of the claim has files that name its space: %s", files)
	}
	if files := onNode(t, 0, "sh", "-c", "grep -rl "+s.mine.Namespace+" /run/claim-artifacts /run/cdi /var/lib/kubelet/plugins 2>/dev/null; true"); files == "" {
		t.Error("no file names the space on the node with a pod of its claim, so that it proves nothing")
	}
}

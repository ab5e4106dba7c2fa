// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// kubelet uses the certificate and key of the second node's kubelet.
func (s *fixture) kubelet(t *actor) {
	node := env.Cluster.Nodes()[1]
	file := onNode(t.T, 1, "cat", "/var/lib/space-cluster/kubelet.kubeconfig")
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(file))
	if err != nil {
		t.Fatal("the kubelet's kubeconfig cannot be read")
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	others, err := client.CoreV1().Pods(s.elsewhere).Get(t.Context(), "others", metav1.GetOptions{})
	if err != nil {
		t.Fatalf("the kubelet cannot read a pod on its node: %v", err)
	}
	itself, err := client.CoreV1().Nodes().Get(t.Context(), node.Name(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// mirror creates a mirror pod, which the kubelet says that it runs.
	mirror := func(spec string) call {
		return post(core(s.ns, "pods"), fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"attempt",
			"annotations":{"kubernetes.io/config.mirror":"x"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":%[1]q,"uid":%[2]q,"controller":true}]},
			"spec":{"nodeName":%[1]q,%[3]s"automountServiceAccountToken":false,"containers":[{"name":"ctr","image":"x"}]}}`, node.Name(), itself.UID, spec))
	}
	unrelated := by("is forbidden", "no relationship found between node '"+node.Name()+"' and this object")
	ofPlugin := func(i int) call {
		return requestToken(driverNS, framework.PluginName, tokenFor("Pod", s.plugins[i].Name, s.plugins[i].UID))
	}
	devicesOf := func(driver string, i int) call { return publish(driver, `"nodeName":"`+env.Node(i)+`"`) }
	const usesMine = `"resourceClaims":[{"name":"mine","resourceClaimName":"mine"}],`
	t.testDenied(client, []attempt{
		{what: "Read a claim of another node's pod", call: get(claims(s.ns, "mine")), by: unrelated, instead: get(claims(s.elsewhere, "others"))},
		{what: "Get a token of a space of another node", call: requestToken(s.mine.Namespace, "space", unbound), by: unrelated},
		{what: "Get a token of a space of its own node with the kubelet's certificate", call: requestToken(s.others.Namespace, "space", unbound), by: unrelated,
			instead: requestToken(s.elsewhere, "default", tokenFor("Pod", others.Name, others.UID))},
		{what: "Get the token of another node's kubelet plugin", call: ofPlugin(0), by: by("node requested token bound to a pod scheduled on a different node"), instead: ofPlugin(1)},
		{what: "Get a token of its kubelet plugin that is valid after the kubelet plugin's pod is deleted", call: requestToken(driverNS, framework.PluginName, unbound), by: by("node requested token not bound to a pod")},
		{what: "Read another node's pod", call: get(core(s.ns, "pods/mine")), instead: get(core(s.elsewhere, "pods/others"))},
		// The API server also denies mirror pods to administrators, but not other pods.
		{what: "Create a mirror pod that uses a claim of another node", call: mirror(usesMine), by: by("can not create pods that reference resourceclaims"), instead: mirror(""),
			asAdmin: post(core(s.ns, "pods"), podWith(usesMine, ""))},
		{what: "Read Secrets of a space", call: get(core(s.others.Namespace, "secrets"))},
		{what: "Delete another node's pod", call: remove(core(s.ns, "pods/mine")), by: by("can only delete pods with spec.nodeName set to itself"),
			instead: remove(core(s.elsewhere, "pods/others"))},
		{what: "Change another node", call: patch("/api/v1/nodes/"+env.Node(0), touched), by: by("is not allowed to modify node"), instead: patch("/api/v1/nodes/"+env.Node(1), touched)},
		{what: "Change the status of a claim", call: patch(claims(s.elsewhere, "others/status"), `{"status":{"devices":null}}`)},
		{what: "Publish devices on another node", call: devicesOf("gpu.example.com", 0), by: by("can only create ResourceSlice with the same NodeName as the requesting node"),
			instead: devicesOf("gpu.example.com", 1)},
		{what: "Publish devices of the driver with the kubelet's certificate", call: devicesOf(spaceapi.DefaultDriverName, 1), by: by(policy("slices"))},
	})
	t.testRow("Read credentials of pods on other nodes from its disk", s.testDisks)
}

// testDisks searches the disks of both nodes for claim mine, by the names of files and by their contents.
func (s *fixture) testDisks(t *testing.T) {
	found := map[string][]string{}
	for _, file := range env.FilesOf(t, s.mine.Claim) {
		found[file.Node] = append(found[file.Node], file.Path)
	}
	first, second := env.Node(0), env.Node(1)
	for i, node := range []string{first, second} {
		naming := onNode(t, i, "sh", "-c", "grep -rl "+s.mine.Namespace+" /run/claim-artifacts /run/cdi /var/lib/kubelet/plugins 2>/dev/null; true")
		if node == first && (len(found[node]) == 0 || naming == "") {
			t.Error("the node with a pod that uses the claim has no files of it")
		}
		found[node] = append(found[node], strings.Fields(naming)...)
	}
	if len(found[second]) != 0 {
		t.Errorf("the node without a pod that uses the claim has the files %s", found[second])
	}
}

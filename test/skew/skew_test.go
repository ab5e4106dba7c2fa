// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package skew

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestUpgradeOfKubernetes_keepsSpaces upgrades the control plane by one minor version at a time, and then one
// node after the other. Kubernetes requires that a node has no pods meanwhile.
func TestUpgradeOfKubernetes_keepsSpaces(t *testing.T) {
	ns := env.Namespace(t)
	spaces := map[string]framework.Space{}
	start := func(node *cluster.Host) {
		t.Helper()
		name := "on-" + node.Name()
		spaces[name] = env.Use(t, ns, framework.NewClaim(name), framework.On(node.Name(), framework.NewPod(name, name)))
	}
	end := func(node *cluster.Host) {
		t.Helper()
		name := "on-" + node.Name()
		env.DeletePod(t, ns, name)
		env.AwaitNamespaceDeleted(t, spaces[name].Namespace)
		env.AwaitNoFilesOf(t, spaces[name].Claim)
		env.Kubectl(t, "delete", "resourceclaim", name, "-n", ns)
		delete(spaces, name)
	}
	// check checks spaces in use and a new one on each node.
	check := func(name string, nodes ...*cluster.Host) {
		t.Helper()
		t.Logf("%s: nodes run %s", name, env.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}"))
		env.AwaitHealthy(t)
		for pod, space := range spaces {
			space.Kubectl(t, ns, pod, "get", "pods")
		}
		for _, node := range nodes {
			pod := strings.ReplaceAll(name, ".", "-") + "-" + node.Name()
			space := env.Use(t, ns, framework.NewClaim(pod), framework.On(node.Name(), framework.NewPod(pod, pod)))
			space.CheckUsable(t, ns, pod)
			env.DeletePod(t, ns, pod)
			env.AwaitNamespaceDeleted(t, space.Namespace)
			env.AwaitNoFilesOf(t, space.Claim)
		}
	}

	nodes := env.Cluster.Nodes()
	for _, node := range nodes {
		start(node)
	}
	versions := append(newer(t), "") // the newest has no number
	for _, v := range versions {
		if err := env.Cluster.ControlPlane().Upgrade(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		check("control-plane-"+v, nodes...)
	}
	for _, node := range nodes {
		end(node)
		// First, the kubelet is one minor version older than the control plane.
		for _, v := range versions[max(0, len(versions)-2):] {
			if err := node.Upgrade(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			check("node-"+v, node)
		}
		start(node)
	}
	for _, node := range nodes {
		end(node)
	}
}

// newer returns the releases of Kubernetes after K8S, except for the newest.
func newer(t *testing.T) (versions []string) {
	t.Helper()
	modules, err := filepath.Glob(filepath.Join(framework.Root(), "test/cluster/components/kubernetes-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range modules {
		_, v, _ := strings.Cut(filepath.Base(module), "-")
		// A pre-release comes after the newest release.
		if !strings.Contains(v, "-") && version.MustParseGeneric(v).GreaterThan(version.MustParseGeneric(os.Getenv("K8S"))) {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions
}

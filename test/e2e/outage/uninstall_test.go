// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const (
	// second is the name of another release, its namespace, and its claims.
	second       = "second"
	secondDriver = "second.space.example.com"
)

func TestUninstall_removesAllOfOneRelease(t *testing.T) {
	ns := env.Namespace(t)
	kept := env.Use(t, ns, framework.NewClaim("first"), framework.On(env.Node(0), framework.NewPod("unaffected", "first")))
	kept.CheckUsable(t, ns, "unaffected")
	awaitNoTerminatingNamespaces(t)
	before := stateOf(t)

	// The values create all kinds of objects of the chart.
	env.InstallAnotherRelease(t, second, "driverName="+secondDriver, "pools[0].name=spaces", "pools[1].name=nodes", "pools[1].perNode.limit=1", "networkPolicy.enabled=true", "flowControl.enabled=true", "criticalPodsQuota.enabled=true")
	space := useBoth(t, ns, kept)
	deleteUsers(t, ns, space)
	env.Helm(t, "uninstall", "--wait", "--namespace", second, second)
	// Helm created the namespace, but does not delete it.
	env.Kubectl(t, "delete", "namespace", second)

	var after sets.Set[string]
	framework.Eventually(t, "all objects of the release to be deleted", func(context.Context) error {
		after = stateOf(t)
		if remaining := after.Difference(before); len(remaining) != 0 {
			return fmt.Errorf("remaining:\n%s", strings.Join(sets.List(remaining), "\n"))
		}
		return nil
	})
	for missing := range before.Difference(after) {
		if strings.Contains(missing, framework.DriverNamespace) {
			t.Errorf("the first release lacks %s", missing)
		}
	}
	kept.Kubectl(t, ns, "unaffected", "get", "configmap", "from-unaffected")
	env.Use(t, ns, framework.NewClaim("later"), framework.On(env.Node(1), framework.NewPod("later", "later"))).CheckUsable(t, ns, "later")
	env.AwaitHealthy(t)
}

// useBoth creates a pod with a space of each driver, and a pod with one of the second driver, which it
// returns.
func useBoth(t *testing.T, ns string, first framework.Space) framework.Space {
	t.Helper()
	claim := framework.OfClass(secondDriver, framework.NewClaim(second))
	// With a space of a pool per node, both pods would have to run on one node.
	claim.Spec.Devices.Requests[0].Exactly.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{
		Expression: fmt.Sprintf("device.attributes[%q].%s == %q", secondDriver, spaceapi.PoolAttribute, "spaces"),
	}}}
	s := env.Use(t, ns, claim, framework.On(env.Node(0), framework.NewPod("both", "first", second)))
	env.CreatePod(t, ns, framework.On(env.Node(1), framework.NewPod("other", second)))
	if both := env.SpaceOf(t, ns, "both", "first"); both != first {
		t.Errorf("the pod has the space %v of the first driver, want %v", both, first)
	}
	first.Kubectl(t, ns, "both", "get", "configmap", "from-unaffected")
	first.CheckForbidden(t, ns, "both", "create", "namespace", "mine")
	if s.Namespace == first.Namespace {
		t.Fatalf("the spaces of both drivers have namespace %s", s.Namespace)
	}
	s.CheckUsable(t, ns, "both")
	s.CheckUsable(t, ns, "other")
	s.CheckForbidden(t, ns, "both", "get", "configmaps", "-n", first.Namespace)
	return s
}

// deleteUsers follows docs/upgrade.md: it deletes what uses the second driver before it is uninstalled.
func deleteUsers(t *testing.T, ns string, s framework.Space) {
	t.Helper()
	inUse := env.Kubectl(t, "get", "resourceclaims", "-A", "-o",
		"custom-columns=NAMESPACE:.metadata.namespace,CLAIM:.metadata.name,DRIVER:.status.allocation.devices.results[*].driver,PODS:.status.reservedFor[*].name")
	inUse = strings.Join(slices.DeleteFunc(strings.Split(inUse, "\n"), func(line string) bool { return !strings.Contains(line, secondDriver) }), "\n")
	if got := strings.Fields(inUse); len(got) != 4 || got[0] != ns || got[1] != second || !strings.Contains(got[3], "both") || !strings.Contains(got[3], "other") {
		t.Errorf("the command of docs/upgrade.md finds %q", inUse)
	}
	env.DeletePod(t, ns, "both")
	env.DeletePod(t, ns, "other")
	env.Kubectl(t, "delete", "resourceclaim", second, "-n", ns)
	env.AwaitNamespaceDeleted(t, s.Namespace)
	if spaces := env.Kubectl(t, "get", "namespaces", "-l", secondDriver+"/claim-uid", "-o", "name"); spaces != "" {
		t.Errorf("spaces still exist: %s", spaces)
	}
}

// awaitNoTerminatingNamespaces waits until the namespaces of previous tests are deleted.
func awaitNoTerminatingNamespaces(t *testing.T) {
	t.Helper()
	namespaces, err := env.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces.Items {
		if n.DeletionTimestamp != nil {
			env.AwaitNamespaceDeleted(t, n.Name)
		}
	}
}

// stateOf returns all objects except events, and all files in the kubelet plugins' directories on the
// nodes.
func stateOf(t *testing.T) sets.Set[string] {
	t.Helper()
	kinds := slices.DeleteFunc(strings.Fields(env.Kubectl(t, "api-resources", "--verbs=list", "-o", "name")), func(kind string) bool {
		return strings.HasPrefix(kind, "events")
	})
	state := sets.New(strings.Split(strings.TrimSpace(env.Kubectl(t, "get", strings.Join(kinds, ","), "-A", "--ignore-not-found", "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.uid}{"\n"}{end}`)), "\n")...)
	if len(kinds) < 30 || len(state) < 100 {
		t.Fatalf("only %d objects of %d kinds were found", len(state), len(kinds))
	}
	kubelet := env.Cluster.KubeletDir()
	// docs/upgrade.md lists these empty directories.
	expected := []string{kubelet + "/plugins/" + secondDriver, "/run/claim-artifacts/" + secondDriver, "/run/claim-artifacts/" + secondDriver + "/.staging", "/run/cdi/." + secondDriver}
	for _, node := range env.Cluster.Nodes() {
		// find fails if a file is replaced meanwhile, such as a token.
		found, err := framework.OnNode(t.Context(), node, "sh", "-c", `find "$@" 2>/dev/null; true`, "sh",
			kubelet+"/plugins", kubelet+"/plugins_registry", "/run/claim-artifacts", "/run/cdi")
		if err != nil {
			t.Fatal(err)
		}
		for path := range sets.New(strings.Fields(found)...).Delete(expected...) {
			state.Insert(node.Name() + ":" + path)
		}
	}
	return state
}

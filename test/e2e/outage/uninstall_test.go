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
	// second is a release beside the driver's own, its namespace, and its claims.
	second       = "second"
	secondDriver = "second.space.example.com"
)

func TestUninstall_removesAllOfOneRelease(t *testing.T) {
	ns := env.Namespace(t)
	kept := env.Use(t, ns, framework.NewClaim("first"), framework.On(env.Node(0), framework.NewPod("standing", "first")))
	kept.Usable(t, ns, "standing")
	awaitNothingTerminates(t)
	before := stateOf(t)

	// With all kinds of objects that the chart has.
	env.InstallAnother(t, second, "driverName="+secondDriver, "pools[0].name=spaces", "pools[1].name=those-of-nodes", "pools[1].perNode.limit=1", "networkPolicy.enabled=true", "flowControl.enabled=true", "criticalPodsQuota.enabled=true")
	ended := useBoth(t, ns, kept)
	endWhatUses(t, ns, ended)
	env.Helm(t, "uninstall", "--wait", "--namespace", second, second)
	// Helm made it, but does not remove it.
	env.Kubectl(t, "delete", "namespace", second)

	var after sets.Set[string]
	framework.Eventually(t, "the release to leave nothing", func(context.Context) error {
		after = stateOf(t)
		if left := after.Difference(before); len(left) != 0 {
			return fmt.Errorf("there is:\n%s", strings.Join(sets.List(left), "\n"))
		}
		return nil
	})
	for lost := range before.Difference(after) {
		if strings.Contains(lost, framework.DriverNamespace) {
			t.Errorf("the other release has lost %s", lost)
		}
	}
	kept.Kubectl(t, ns, "standing", "get", "configmap", "from-standing")
	env.Use(t, ns, framework.NewClaim("later"), framework.On(env.Node(1), framework.NewPod("later", "later"))).Usable(t, ns, "later")
	env.AwaitHealthy(t)
}

// useBoth runs a pod with a space of each driver and one with the second's only,
// and returns the second's space.
func useBoth(t *testing.T, ns string, first framework.Space) framework.Space {
	t.Helper()
	claim := framework.OfClass(secondDriver, framework.NewClaim(second))
	// A space of the pool per node would keep both pods on one node.
	claim.Spec.Devices.Requests[0].Exactly.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{
		Expression: fmt.Sprintf("device.attributes[%q].%s == %q", secondDriver, spaceapi.PoolAttribute, "spaces"),
	}}}
	s := env.Use(t, ns, claim, framework.On(env.Node(0), framework.NewPod("both", "first", second)))
	env.CreatePod(t, ns, framework.On(env.Node(1), framework.NewPod("other", second)))
	if both := env.SpaceOf(t, ns, "both", "first"); both != first {
		t.Errorf("the pod with both has %v of the first, want %v", both, first)
	}
	first.Kubectl(t, ns, "both", "get", "configmap", "from-standing")
	first.Forbidden(t, ns, "both", "create", "namespace", "mine")
	if s.Namespace == first.Namespace {
		t.Fatalf("both drivers gave %s", s.Namespace)
	}
	s.Usable(t, ns, "both")
	s.Usable(t, ns, "other")
	s.Forbidden(t, ns, "both", "get", "configmaps", "-n", first.Namespace)
	return s
}

// endWhatUses does what the manual says is to be done before the second driver is
// uninstalled.
func endWhatUses(t *testing.T, ns string, s framework.Space) {
	t.Helper()
	inUse := env.Kubectl(t, "get", "resourceclaims", "-A", "-o",
		"custom-columns=NAMESPACE:.metadata.namespace,CLAIM:.metadata.name,DRIVER:.status.allocation.devices.results[*].driver,PODS:.status.reservedFor[*].name")
	inUse = strings.Join(slices.DeleteFunc(strings.Split(inUse, "\n"), func(line string) bool { return !strings.Contains(line, secondDriver) }), "\n")
	if got := strings.Fields(inUse); len(got) != 4 || got[0] != ns || got[1] != second || !strings.Contains(got[3], "both") || !strings.Contains(got[3], "other") {
		t.Errorf("the manual's way to find what uses the driver finds %q", inUse)
	}
	env.DeletePod(t, ns, "both")
	env.DeletePod(t, ns, "other")
	env.Kubectl(t, "delete", "resourceclaim", second, "-n", ns)
	env.AwaitNamespaceGone(t, s.Namespace)
	if left := env.Kubectl(t, "get", "namespaces", "-l", secondDriver+"/claim-uid", "-o", "name"); left != "" {
		t.Errorf("there are still spaces: %s", left)
	}
}

// awaitNothingTerminates waits until the namespaces of earlier tests are deleted.
func awaitNothingTerminates(t *testing.T) {
	t.Helper()
	namespaces, err := env.Client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces.Items {
		if n.DeletionTimestamp != nil {
			env.AwaitNamespaceGone(t, n.Name)
		}
	}
}

// stateOf lists all objects of all kinds but events, and all files in the
// directories of the nodes that a plugin writes to.
func stateOf(t *testing.T) sets.Set[string] {
	t.Helper()
	kinds := slices.DeleteFunc(strings.Fields(env.Kubectl(t, "api-resources", "--verbs=list", "-o", "name")), func(kind string) bool {
		return strings.HasPrefix(kind, "events")
	})
	state := sets.New(strings.Split(strings.TrimSpace(env.Kubectl(t, "get", strings.Join(kinds, ","), "-A", "--ignore-not-found", "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.uid}{"\n"}{end}`)), "\n")...)
	if len(kinds) < 30 || len(state) < 100 {
		t.Fatalf("these can't be all objects: %d of %d kinds", len(state), len(kinds))
	}
	kubelet := env.Cluster.KubeletDir()
	// docs/upgrade.md lists these empty directories.
	stay := []string{kubelet + "/plugins/" + secondDriver, "/run/claim-artifacts/" + secondDriver, "/run/claim-artifacts/" + secondDriver + "/.staging", "/run/cdi/." + secondDriver}
	for _, node := range env.Cluster.Nodes() {
		// What vanishes meanwhile, such as a token that is renewed, makes find fail.
		found, err := framework.OnNode(t.Context(), node, "sh", "-c", `find "$@" 2>/dev/null; true`, "sh",
			kubelet+"/plugins", kubelet+"/plugins_registry", "/run/claim-artifacts", "/run/cdi")
		if err != nil {
			t.Fatal(err)
		}
		for path := range sets.New(strings.Fields(found)...).Delete(stay...) {
			state.Insert(node.Name() + ":" + path)
		}
	}
	return state
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

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
	env.CreateClaim(t, ns, framework.NewClaim("first"))
	env.CreatePod(t, ns, framework.On(env.Node(0), framework.NewPod("standing", "first")))
	kept := env.SpaceOf(t, ns, "standing", "FIRST")
	kept.Usable(t, ns, "standing")
	awaitNothingTerminates(t)
	before := stateOf(t)

	// With all kinds of objects that the chart has.
	env.InstallAnother(t, second, "driverName="+secondDriver, "pools[0].name=spaces", "pools[1].name=those-of-nodes", "pools[1].perNode.limit=1", "networkPolicy.enabled=true", "flowControl.enabled=true", "criticalPodsQuota.enabled=true")
	ended := useBoth(t, ns, kept)
	endWhatUses(t, ns, ended)
	if out, err := env.Tool(t.Context(), "helm", "uninstall", "--wait", "--namespace", second, second); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Helm made it, but does not remove it.
	env.Kubectl(t, "delete", "namespace", second)

	var after []string
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, framework.Patience, true, func(context.Context) (bool, error) {
		after = stateOf(t)
		return len(without(after, before)) == 0, nil
	})
	if err != nil {
		t.Errorf("waited for the release to leave nothing: %v; there is:\n%s", err, strings.Join(without(after, before), "\n"))
	}
	for _, lost := range without(before, after) {
		if strings.Contains(lost, framework.DriverNamespace) {
			t.Errorf("the other release has lost %s", lost)
		}
	}
	kept.Kubectl(t, ns, "standing", "get", "configmap", "from-standing")
	env.CreateClaim(t, ns, framework.NewClaim("later"))
	env.CreatePod(t, ns, framework.On(env.Node(1), framework.NewPod("later", "later")))
	env.SpaceOf(t, ns, "later", "LATER").Usable(t, ns, "later")
	env.AwaitHealthy(t)
}

// useBoth runs a pod with a space of each driver and one with the second's only,
// and returns the second's space.
func useBoth(t *testing.T, ns string, first framework.Space) framework.Space {
	t.Helper()
	claim := framework.NewClaim(second)
	request := claim.Spec.Devices.Requests[0].Exactly
	request.DeviceClassName = secondDriver
	// A space of the pool per node would keep both pods on one node.
	request.Selectors = []resourceapi.DeviceSelector{{CEL: &resourceapi.CELDeviceSelector{
		Expression: fmt.Sprintf("device.attributes[%q].%s == %q", secondDriver, spaceapi.PoolAttribute, "spaces"),
	}}}
	env.CreateClaim(t, ns, claim)
	env.CreatePod(t, ns, framework.On(env.Node(0), framework.NewPod("both", "first", second)))
	env.CreatePod(t, ns, framework.On(env.Node(1), framework.NewPod("other", second)))
	vars := env.Variables(t, ns, "both")
	if vars["FIRST_NAMESPACE"] != first.Namespace {
		t.Errorf("the pod with both has %s of the first, want %s", vars["FIRST_NAMESPACE"], first.Namespace)
	}
	first.Kubectl(t, ns, "both", "get", "configmap", "from-standing")
	first.Forbidden(t, ns, "both", "create", "namespace", "mine")
	s := framework.Space{Env: env, Namespace: vars["SECOND_NAMESPACE"], Kubeconfig: vars["SECOND_KUBECONFIG"]}
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
	if err := env.Client.ResourceV1().ResourceClaims(ns).Delete(t.Context(), second, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
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
func stateOf(t *testing.T) []string {
	t.Helper()
	kinds := slices.DeleteFunc(strings.Fields(env.Kubectl(t, "api-resources", "--verbs=list", "-o", "name")), func(kind string) bool {
		return strings.HasPrefix(kind, "events")
	})
	state := strings.Split(strings.TrimSpace(env.Kubectl(t, "get", strings.Join(kinds, ","), "-A", "--ignore-not-found", "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.uid}{"\n"}{end}`)), "\n")
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
		for _, path := range strings.Fields(found) {
			if !slices.Contains(stay, path) {
				state = append(state, fmt.Sprintf("%s:%s", node.Name(), path))
			}
		}
	}
	return state
}

func without(all, these []string) []string {
	known := map[string]bool{}
	for _, s := range these {
		known[s] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return known[s] })
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// poolsFile writes a file with pools, and returns the flag for it.
func poolsFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pools.yaml")
	if err := os.WriteFile(file, []byte("pools:\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--pools-file=" + file
}

// awaitPools waits until the published pools, sorted by name, are these. Each has its devices and
// their capacities.
func awaitPools(t *testing.T, e *framework.Env, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	all := map[string]*resourceapi.ResourceSlice{}
	published := func() []string {
		devices := map[string][]string{}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			slice := all[name]
			for _, d := range slice.Spec.Devices {
				device := describe(d)
				if node := ptr.Deref(slice.Spec.NodeName, ""); node != "" {
					device += " on " + node
				}
				devices[slice.Spec.Pool.Name] = append(devices[slice.Spec.Pool.Name], device)
			}
		}
		var out []string
		for _, pool := range slices.Sorted(maps.Keys(devices)) {
			out = append(out, pool+": "+strings.Join(devices[pool], " "))
		}
		return out
	}
	selector := fields.OneTermEqualSelector(resourceapi.ResourceSliceSelectorDriver, spaceapi.DefaultDriverName)
	api := cache.NewListWatchFromClient(e.Client.ResourceV1().RESTClient(), "resourceslices", "", selector)
	if _, err := watchtools.UntilWithSync(ctx, api, &resourceapi.ResourceSlice{}, nil, func(event watch.Event) (bool, error) {
		slice := event.Object.(*resourceapi.ResourceSlice)
		if all[slice.Name] = slice; event.Type == watch.Deleted {
			delete(all, slice.Name)
		}
		return slices.Equal(published(), want), nil
	}); err != nil {
		t.Fatalf("waited for these pools:\n%s\n%v; there are:\n%s", strings.Join(want, "\n"), err, strings.Join(published(), "\n"))
	}
}

func describe(d resourceapi.Device) string {
	out := d.Name
	if ptr.Deref(d.AllowMultipleAllocations, false) {
		out += "*"
	}
	for _, name := range slices.Sorted(maps.Keys(d.Capacity)) {
		c := d.Capacity[name]
		out += fmt.Sprintf(" %s=%s", name, c.Value.String())
		if c.RequestPolicy != nil {
			out += "/" + c.RequestPolicy.Default.String()
		}
	}
	if len(d.BindingConditions) > 0 {
		out += " binding"
	}
	return out
}

func newNode(t *testing.T, e *framework.Env, name string, labels map[string]string) {
	t.Helper()
	nodes := e.Client.CoreV1().Nodes()
	if _, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test may have deleted it.
		_ = nodes.Delete(context.Background(), name, metav1.DeleteOptions{})
	})
}

// allocateFrom allocates a claim from a pool.
func allocateFrom(t *testing.T, e *framework.Env, ns, claim, pool string, consumed map[resourceapi.QualifiedName]resource.Quantity) spaceapi.SpaceStatus {
	t.Helper()
	e.CreateClaim(t, ns, framework.NewClaim(claim))
	allocate(t, e, ns, claim, func(c *resourceapi.ResourceClaim) {
		c.Status.Allocation.Devices.Results[0].Pool = pool
		c.Status.Allocation.Devices.Results[0].ConsumedCapacity = consumed
	})
	_, spaces := spacesOf(t, e, ns, claim, 1)
	return spaces[0]
}

// startPlugin starts the kubelet plugin of a node without a kubelet. It returns its log, and a function
// that stops it.
func startPlugin(t *testing.T, e *framework.Env, node string, flags ...string) (*framework.Output, func()) {
	t.Helper()
	cmd, log := framework.PluginCommand(framework.NewNodeDir(t), node, e.Cluster.Kubeconfig(), flags...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the kubelet plugin, which `make build` builds: %v", err)
	}
	stop := sync.OnceFunc(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			t.Errorf("the kubelet plugin of %s exits with error %v", node, err)
		}
		if t.Failed() {
			t.Logf("the log of the kubelet plugin of %s:\n%s", node, log)
		}
	})
	t.Cleanup(stop)
	return log, stop
}

// TestPools_followConfigurationAndNodes takes 30 seconds, after which the kubelet plugin's library
// deletes the ResourceSlices of a previous process. No other parallel test has the default driver name.
func TestPools_followConfigurationAndNodes(t *testing.T) {
	t.Parallel()
	env.Requires(t, "1.36", "a shareable device")
	newNode(t, env, "node-a", map[string]string{"disk": "ssd"})
	newNode(t, env, "node-b", nil)
	description := poolsFile(t, `
- {name: few, limit: 2}
- {name: local, perNode: {limit: 3}, nodeSelector: {disk: ssd}}
- {name: shared, bindingConditions: true, budget: {total: {cpu: "32", ephemeral_storage: 9Gi}, default: {cpu: "1", ephemeral_storage: 1Gi}}}
- {name: spaces, attributes: {tier: gold, size: 3, fast: true, release: {version: 1.2.3}}}
- {name: two, perNode: {limit: 1}}
`)
	first := startController(t, env, "--resync-period=1s", description)
	_, stopA := startPlugin(t, env, "node-a", description)
	_, stopB := startPlugin(t, env, "node-b", "--binding-conditions", description)
	const few, shared, spaces = "few: space* spaces=2/1", "shared: space* cpu=32/1 ephemeral_storage=9Gi/1Gi binding", "spaces: space*"
	const twoA, twoB = "two/node-a: space* spaces=1/1 on node-a", "two/node-b: space* spaces=1/1 binding on node-b"
	awaitPools(t, env, few, "local/node-a: space* spaces=3/1 on node-a", shared, spaces, twoA, twoB)

	// Labels of nodes change, and a node is deleted.
	env.Kubectl(t, "label", "node", "node-b", "disk=ssd")
	env.Kubectl(t, "label", "node", "node-a", "disk-")
	awaitPools(t, env, few, "local/node-b: space* spaces=3/1 binding on node-b", shared, spaces, twoA, twoB)
	stopA()
	env.Kubectl(t, "delete", "node", "node-a")
	awaitPools(t, env, few, "local/node-b: space* spaces=3/1 binding on node-b", shared, spaces, twoB)

	ns := env.Namespace(t)
	slot := map[resourceapi.QualifiedName]resource.Quantity{"spaces": resource.MustParse("1")}
	space := map[string]spaceapi.SpaceStatus{
		"few-1":  allocateFrom(t, env, ns, "few-1", "few", slot),
		"few-2":  allocateFrom(t, env, ns, "few-2", "few", slot),
		"local":  allocateFrom(t, env, ns, "local", "local/node-b", slot),
		"shared": allocateFrom(t, env, ns, "shared", "shared", map[resourceapi.QualifiedName]resource.Quantity{"cpu": resource.MustParse("4")}),
	}

	// One pool shrinks below its spaces in use, two are removed, and one gets a limit.
	first.Stop(t, syscall.SIGTERM)
	stopB()
	description = poolsFile(t, `
- {name: few, limit: 1}
- {name: local, perNode: {limit: 5}}
- {name: spaces, limit: 9}
`)
	startController(t, env, "--resync-period=1s", description)
	startPlugin(t, env, "node-b", description)
	awaitPools(t, env, "few: space* spaces=1/1", "local/node-b: space* spaces=5/1 on node-b", "spaces: space* spaces=9/1")

	// When another space is deprovisioned, the controller has also reconciled these.
	other := allocateFrom(t, env, ns, "other", "spaces", slot)
	deallocate(t, env, ns, "other")
	env.AwaitNamespaceDeleted(t, other.Namespace)
	for claim, before := range space {
		if _, now := spacesOf(t, env, ns, claim, 1); now[0].ServiceAccountUID != before.ServiceAccountUID {
			t.Errorf("the space of claim %s was changed with its pool: %v, was %v", claim, now[0], before)
		}
		if err := reads(env.As(t, before.Namespace, spaceapi.ServiceAccountName), before.Namespace)(t.Context()); err != nil {
			t.Errorf("the space of claim %s lost its permissions: %v", claim, err)
		}
		deallocate(t, env, ns, claim)
		env.AwaitNamespaceDeleted(t, before.Namespace)
	}
}

// Before Kubernetes 1.36, the API server drops the fields that make a device shareable.
func TestDedicatedDevices_replaceShareableOnes(t *testing.T) {
	t.Parallel()
	// The defaults of 1.34.
	gates := map[string]bool{"DRAConsumableCapacity": false, "DRADeviceBindingConditions": false, "DRAPartitionableDevices": false}
	if env.AtLeast("1.37") {
		gates["DRAFractionalCapacityRange"] = false
	}
	old, err := framework.NewControlPlane(t.Context(), "space-pools", gates)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := old.Cluster.Delete(context.Background()); err != nil {
			t.Error(err)
		}
	})
	newNode(t, old, "node-a", nil)
	description := poolsFile(t, `
- {name: few, limit: 2, bindingConditions: true}
- {name: local, perNode: {limit: 2}}
- {name: shared, budget: {total: {cpu: "7"}, default: {cpu: "2"}}}
- {name: spaces}
`)
	controller := startController(t, old, "--dedicated-device-count=4", description)
	plugin, _ := startPlugin(t, old, "node-a", description)
	awaitPools(t, old, "few: space-0 space-1", "local/node-a: space-0 on node-a space-1 on node-a", "shared: space-0 space-1 space-2", "spaces: space-0 space-1 space-2 space-3")
	for words, want := range map[string]int{
		"publishing dedicated devices instead": 3,
		"gets the default part of the budget":  1,
		"before their spaces are ready":        1,
	} {
		framework.AwaitLogCount(t, controller.Log, words, want)
	}
	framework.AwaitLogCount(t, plugin, "publishing dedicated devices instead", 1)

	ns := old.Namespace(t)
	set := func(claim, pool, device string) {
		allocate(t, old, ns, claim, func(claim *resourceapi.ResourceClaim) {
			claim.Status.Allocation.AllocationTimestamp = nil
			result := &claim.Status.Allocation.Devices.Results[0]
			result.Pool, result.Device, result.ShareID = pool, device, nil
		})
	}
	// A claim cannot request a part of the budget.
	old.CreateClaim(t, ns, framework.NewClaim("budget"))
	set("budget", "shared", "space-0")
	_, spaces := spacesOf(t, old, ns, "budget", 1)
	framework.AwaitAny(t, old.Client.CoreV1().RESTClient(), "resourcequotas", spaces[0].Namespace, framework.That("the default part of the budget", func(q *corev1.ResourceQuota) bool {
		return q.Spec.Hard.Name(corev1.ResourceRequestsCPU, resource.DecimalSI).String() == "2"
	}))
	deallocate(t, old, ns, "budget")
	old.AwaitNamespaceDeleted(t, spaces[0].Namespace)

	// Such a cluster does not distinguish two allocations of the same device to the same claim.
	old.CreateClaim(t, ns, framework.NewClaim("claim"))
	set("claim", "few", "space-0")
	_, spaces = spacesOf(t, old, ns, "claim", 1)
	name := spaces[0].Namespace
	release := blockDeletion(t, old, name)
	deallocate(t, old, ns, "claim")
	framework.Await(t, framework.Namespace(old.Client, name), terminating())
	set("claim", "few", "space-0")
	framework.Await(t, framework.Claim(old.Client, ns, "claim"), framework.NotReadyBecause(spaceapi.ReasonNamespaceTerminating, name))
	release()
	if _, again := spacesOf(t, old, ns, "claim", 1); again[0].Namespace != name || again[0].ServiceAccountUID == spaces[0].ServiceAccountUID {
		t.Errorf("the same device has %v, want another space in namespace %s", again[0], name)
	}
	deallocate(t, old, ns, "claim")
	old.AwaitNamespaceDeleted(t, name)
	// Another device has another namespace.
	set("claim", "few", "space-1")
	if _, spaces = spacesOf(t, old, ns, "claim", 1); spaces[0].Namespace == name {
		t.Errorf("another device has namespace %s again", name)
	}
	deallocate(t, old, ns, "claim")
	old.AwaitNamespaceDeleted(t, spaces[0].Namespace)
}

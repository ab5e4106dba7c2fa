// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

const poolsDriver = "pools.space.example.com"

var poolsRelease = []string{
	"driverName=" + poolsDriver, "controller.replicas=1",
	"deviceClasses[0].name=few", "deviceClasses[0].pool=few",
	"deviceClasses[1].name=local", "deviceClasses[1].pool=local",
	"deviceClasses[2].name=golden", `deviceClasses[2].selector=device.attributes["` + poolsDriver + `"].?tier.orValue("") == "gold"`,
	"deviceClasses[3].name=shared", "deviceClasses[3].pool=shared",
	"deviceClasses[4].name=twins", `deviceClasses[4].selector=device.attributes["` + poolsDriver + `"].?tier.orValue("") == "twin"`,
	"pools[0].name=few", "pools[0].limit=1",
	"pools[1].name=local", "pools[1].perNode.limit=1",
	"pools[2].name=metal", "pools[2].attributes.tier=gold",
	"pools[3].name=shared", "pools[3].budget.total.cpu=4", "pools[3].budget.total.memory=8Gi",
	"pools[3].budget.default.cpu=1", "pools[3].budget.default.memory=1Gi", "pools[3].budget.min.memory=512Mi", "pools[3].budget.step.cpu=1",
	"pools[4].name=castor", "pools[4].attributes.tier=twin",
	"pools[5].name=pollux", "pools[5].attributes.tier=twin",
}

func TestPools(t *testing.T) {
	t.Parallel()
	// This comes after the release was uninstalled.
	t.Cleanup(func() {
		awaitSlices(t, "gone", func(slices map[string]*resourceapi.ResourceSlice) bool { return len(slices) == 0 })
	})
	env.InstallAnother(t, "pools", poolsRelease...)
	t.Run("while nothing changes", func(t *testing.T) {
		t.Run("the next pod waits for a space of a limited pool", waitsForALimitedPool)
		t.Run("a pool per node keeps a claim's pods together and has its limit on each", poolPerNode)
		t.Run("a class chooses by attributes", chosenByAttributes)
		t.Run("spaces share a budget", sharedBudget)
		t.Run("a request for two spaces has them from two pools", twoOfOneRequest)
	})
	t.Run("a pool that goes leaves its spaces alone", poolGoes)
}

// awaitSlices waits until the slices of the release, by their pools, are as wanted.
func awaitSlices(t *testing.T, says string, holds func(map[string]*resourceapi.ResourceSlice) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), framework.Patience)
	defer cancel()
	all := map[string]*resourceapi.ResourceSlice{}
	api := cache.NewListWatchFromClient(env.Client.ResourceV1().RESTClient(), "resourceslices", "", fields.OneTermEqualSelector(resourceapi.ResourceSliceSelectorDriver, poolsDriver))
	enough := func(store cache.Store) (bool, error) {
		return len(store.List()) == 0 && holds(all), nil
	}
	if _, err := watchtools.UntilWithSync(ctx, api, &resourceapi.ResourceSlice{}, enough, func(event watch.Event) (bool, error) {
		slice := event.Object.(*resourceapi.ResourceSlice)
		if all[slice.Spec.Pool.Name] = slice; event.Type == watch.Deleted {
			delete(all, slice.Spec.Pool.Name)
		}
		return holds(all), nil
	}); err != nil {
		t.Errorf("waited for the slices of driver %s to be %s: %v; there are %v", poolsDriver, says, err, all)
	}
}

// usableSpace returns the space of a pod's claim, which the pod can use.
func usableSpace(t *testing.T, ns, pod, claim string) framework.Space {
	t.Helper()
	prefix := strings.ToUpper(claim)
	vars := env.Variables(t, ns, pod)
	s := framework.Space{Env: env, Namespace: vars[prefix+"_NAMESPACE"], Kubeconfig: vars[prefix+"_KUBECONFIG"]}
	s.Usable(t, ns, pod)
	return s
}

// createClaimOf makes a claim for a space of a class, which may ask for capacity.
func createClaimOf(t *testing.T, ns, name, class string, capacity map[resourceapi.QualifiedName]resource.Quantity) {
	t.Helper()
	claim := claimOfClass(class)
	claim.Name = name
	if capacity != nil {
		claim.Spec.Devices.Requests[0].Exactly.Capacity = &resourceapi.CapacityRequirements{Requests: capacity}
	}
	env.CreateClaim(t, ns, claim)
}

// waits creates a pod, and returns when the scheduler has reported that its claim cannot
// be allocated.
func waits(t *testing.T, ns, pod, claim string) {
	t.Helper()
	env.StartPod(t, ns, framework.NewPod(pod, claim))
	framework.AwaitAny(t, env.Client.CoreV1().RESTClient(), "events", ns, framework.About("Pod", pod, "FailedScheduling", "cannot allocate all claims"))
}

func waitsForALimitedPool(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	createClaimOf(t, ns, "first", "few", nil)
	createClaimOf(t, ns, "next", "few", nil)
	env.CreatePod(t, ns, framework.NewPod("first", "first"))
	first := usableSpace(t, ns, "first", "first")
	waits(t, ns, "next", "next")

	env.DeletePod(t, ns, "first")
	framework.Await(t, framework.Pod(env.Client, ns, "next"), framework.PodReady())
	if next := usableSpace(t, ns, "next", "next"); next.Namespace == first.Namespace {
		t.Errorf("the next pod has the first one's namespace %s", next.Namespace)
	}
	env.AwaitNamespaceGone(t, first.Namespace)

	// The same claim gets another space each time, although its device is the same.
	env.DeletePod(t, ns, "next")
	env.CreatePod(t, ns, framework.NewPod("again", "first"))
	if again := usableSpace(t, ns, "again", "first"); again.Namespace == first.Namespace {
		t.Errorf("the claim has namespace %s again", again.Namespace)
	}
	env.DeletePod(t, ns, "again")
}

func poolPerNode(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	for _, claim := range []string{"both", "other", "third"} {
		createClaimOf(t, ns, claim, "local", nil)
	}
	one := env.CreatePod(t, ns, framework.NewPod("one", "both"))
	two := env.CreatePod(t, ns, framework.NewPod("two", "both"))
	if one.Spec.NodeName != two.Spec.NodeName {
		t.Errorf("the pods of one claim are on %s and %s", one.Spec.NodeName, two.Spec.NodeName)
	}
	claim := framework.Await(t, framework.Claim(env.Client, ns, "both"), framework.SpacesReady(1))
	if got, want := claim.Status.Allocation.Devices.Results[0].Pool, "local/"+one.Spec.NodeName; got != want {
		t.Errorf("the space is from pool %s, want %s", got, want)
	}
	s := usableSpace(t, ns, "one", "both")
	if usableSpace(t, ns, "two", "both") != s {
		t.Error("the pods of one claim have different spaces")
	}
	other := env.CreatePod(t, ns, framework.NewPod("other", "other"))
	if other.Spec.NodeName == one.Spec.NodeName {
		t.Errorf("node %s has two spaces, its limit is one", one.Spec.NodeName)
	}
	waits(t, ns, "third", "third")
	env.DeletePod(t, ns, "other")
	third := framework.Await(t, framework.Pod(env.Client, ns, "third"), framework.PodReady())
	if third.Spec.NodeName != other.Spec.NodeName {
		t.Errorf("the third pod is on %s, though the space was freed on %s", third.Spec.NodeName, other.Spec.NodeName)
	}
	for _, pod := range []string{"one", "two", "third"} {
		env.DeletePod(t, ns, pod)
	}
	env.AwaitNamespaceGone(t, s.Namespace)
}

func chosenByAttributes(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	createClaimOf(t, ns, "claim", "golden", nil)
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	usableSpace(t, ns, "pod", "claim")
	claim := framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))
	if got := claim.Status.Allocation.Devices.Results[0].Pool; got != "metal" {
		t.Errorf("the space is from pool %s, want metal", got)
	}
	env.DeletePod(t, ns, "pod")
}

// twoOfOneRequest asks for a count: one pool has one device, however often it is
// shared, so that a request gets each of its spaces from another one.
func twoOfOneRequest(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	claim := claimOfClass("twins")
	claim.Spec.Devices.Requests[0].Exactly.Count = 2
	env.CreateClaim(t, ns, claim)
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	first, second := usableSpace(t, ns, "pod", "claim_space_0"), usableSpace(t, ns, "pod", "claim_space_1")
	if first.Namespace == second.Namespace || first.Kubeconfig == second.Kubeconfig {
		t.Errorf("the spaces are %v and %v, want two", first, second)
	}
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceGone(t, first.Namespace)
	env.AwaitNamespaceGone(t, second.Namespace)
}

func sharedBudget(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	quantities := func(pairs ...string) map[resourceapi.QualifiedName]resource.Quantity {
		out := map[resourceapi.QualifiedName]resource.Quantity{}
		for i := 0; i < len(pairs); i += 2 {
			out[resourceapi.QualifiedName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return out
	}
	consumes := func(claim, cpu, memory string) {
		t.Helper()
		got := framework.Await(t, framework.Claim(env.Client, ns, claim), framework.SpacesReady(1)).Status.Allocation.Devices.Results[0].ConsumedCapacity
		for name, want := range quantities("cpu", cpu, "memory", memory) {
			if have := got[name]; have.Cmp(want) != 0 {
				t.Errorf("claim %s consumes %s %s, want %s", claim, have.String(), name, want.String())
			}
		}
	}
	createClaimOf(t, ns, "asks", "shared", quantities("cpu", "1200m", "memory", "100Mi"))
	createClaimOf(t, ns, "silent", "shared", nil)
	createClaimOf(t, ns, "greedy", "shared", quantities("cpu", "2"))
	env.CreatePod(t, ns, framework.NewPod("asks", "asks"))
	consumes("asks", "2", "512Mi")
	env.CreatePod(t, ns, framework.NewPod("silent", "silent"))
	consumes("silent", "1", "1Gi")
	waits(t, ns, "greedy", "greedy")
	env.DeletePod(t, ns, "asks")
	framework.Await(t, framework.Pod(env.Client, ns, "greedy"), framework.PodReady())
	consumes("greedy", "2", "1Gi")
	env.DeletePod(t, ns, "silent")
	env.DeletePod(t, ns, "greedy")
}

// poolGoes changes the values, as an administrator does, while a space is in use.
func poolGoes(t *testing.T) {
	ns := env.Namespace(t)
	createClaimOf(t, ns, "claim", "few", nil)
	env.CreatePod(t, ns, framework.NewPod("pod", "claim"))
	s := usableSpace(t, ns, "pod", "claim")

	args := []string{"upgrade", "--namespace", "pools", "pools", filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver")}
	for _, value := range []string{"driverName=" + poolsDriver, "controller.replicas=1", "pools[0].name=only", "pools[0].limit=1"} {
		args = append(args, "--set", value)
	}
	if out, err := env.Tool(t.Context(), "helm", args...); err != nil {
		t.Fatalf("change the pools: %v: %s", err, out)
	}
	awaitSlices(t, "those of the pool only", func(slices map[string]*resourceapi.ResourceSlice) bool {
		return len(slices) == 1 && slices["only"] != nil
	})
	s.Kubectl(t, ns, "pod", "get", "configmaps")
	pod, err := env.Client.CoreV1().Pods(ns).Get(t.Context(), "pod", metav1.GetOptions{})
	if err != nil || pod.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod: %v, error %v", pod.Status.Phase, err)
	}
	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceGone(t, s.Namespace)
}

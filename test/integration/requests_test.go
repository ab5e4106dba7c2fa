// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// tally counts requests about single objects, except those about the
// controller itself.
type tally struct {
	mutex  sync.Mutex
	counts map[string]int
}

func (c *tally) intercept(call faults.Call, _ func()) faults.Answer {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if call.Resource != "" && call.Verb != "watch" && call.Verb != "list" && call.Resource != "resourceslices" && call.Resource != "events" {
		if call.Subresource != "" {
			call.Resource += "/" + call.Subresource
		}
		c.counts[call.Verb+" "+call.Resource]++
	}
	return faults.Real
}

// await waits for a request.
func (c *tally) await(t *testing.T, call string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, framework.Patience, true, func(context.Context) (bool, error) {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		return c.counts[call] > 0, nil
	})
	if err != nil {
		t.Fatalf("waited for %s: %v", call, err)
	}
}

// reset returns the counts, and starts from 0.
func (c *tally) reset() map[string]int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	before := c.counts
	c.counts = map[string]int{}
	return before
}

func sum(counts map[string]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

func formatCounts(counts map[string]int) string {
	var out []string
	for _, call := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s %d", call, counts[call]))
	}
	return strings.Join(out, ", ")
}

const getPod, patchNamespace = "get pods", "patch namespaces"

// The requests that the controller sends to know the nodes of a space are counted at
// its connection to the API server.
func TestControllerRequests_areAsDocumented(t *testing.T) {
	const driver = "users.example.com"
	calls := &tally{counts: map[string]int{}}
	i := install(t, driver)
	i.proxy.Intercept(calls.intercept)
	i.start(t)
	for _, node := range []string{"users-a", "users-b"} {
		newNode(t, env, node, nil)
	}
	framework.CheckCosts(t, func(costs *framework.Costs) { i.usersCost(t, calls, costs) })
	awaitNothing(t, driver)
}

// usersCost is one round, with claims and pods of its own.
func (i *installation) usersCost(t *testing.T, calls *tally, costs *framework.Costs) {
	t.Helper()
	driver, ns := i.driver, env.Namespace(t)
	calls.reset()
	awaitUsedOn := func(claim string, pods ...*corev1.Pod) {
		t.Helper()
		awaitUsedBy(t, spaceapi.KeysFor(driver), spaceOf(t, driver, ns, claim), pods...)
	}
	expect := func(what string, gets, patches int) {
		t.Helper()
		got := calls.reset()
		t.Logf("%s: %d requests: %s", what, sum(got), formatCounts(got))
		var wrong []string
		if got[getPod] != gets || got[patchNamespace] != patches {
			wrong = append(wrong, fmt.Sprintf("%d %s and %d %s, want %d and %d", got[getPod], getPod, got[patchNamespace], patchNamespace, gets, patches))
		}
		delete(got, "create subjectaccessreviews")
		reads := 0
		for call, n := range got {
			if strings.HasPrefix(call, "get ") {
				reads += n
			}
		}
		costs.Count(what, reads, sum(got)-reads, wrong...)
	}

	for _, name := range []string{"unused", "claim"} {
		env.CreateClaim(t, ns, framework.NewClaim(name))
	}
	allocateTo(t, driver, ns, "unused")
	framework.Await(t, framework.Claim(env.Client, ns, "unused"), framework.SpacesReady(1))
	expect("a space that no pod uses", 0, 0)

	first := bind(t, createPod(t, ns, framework.NewPod("first")), "users-a")
	addFinalizer(t, ns, "claim")
	modify(t, env, ns, "claim", func(c *resourceapi.ResourceClaim) {
		allocationFor(driver)(c)
		usedBy(first)(c)
	})
	framework.Await(t, framework.Claim(env.Client, ns, "claim"), framework.SpacesReady(1))
	// Ready comes after the record of the node, so that the node's first attempt succeeds.
	awaitUsedOn("claim", first)
	expect("a space that one pod uses", 1, 1)

	second := bind(t, createPod(t, ns, framework.NewPod("second")), "users-b")
	reserve(t, "claim", second)
	awaitUsedOn("claim", first, second)
	expect("one more pod, on another node", 1, 1)

	third := bind(t, createPod(t, ns, framework.NewPod("third")), "users-b")
	reserve(t, "claim", third)
	release(t, "claim", first)
	awaitUsedOn("claim", second, third)
	expect("one more pod on the same node, and one pod less", 1, 1)

	i.kill(t)
	i.start(t)
	fourth := bind(t, createPod(t, ns, framework.NewPod("fourth")), "users-a")
	reserve(t, "claim", fourth)
	awaitUsedOn("claim", second, third, fourth)
	expect("a restarted controller, and one more pod", 1, 1)

	fifth := bind(t, createPod(t, ns, framework.NewPod("fifth")), "users-a")
	reserve(t, "claim", fifth)
	// The node is recorded already, so the read of the pod is the only request.
	calls.await(t, getPod)
	expect("one more pod on a node that has one", 1, 0)

	space := spaceOf(t, driver, ns, "claim")
	deallocate(t, env, ns, "claim")
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, space))
	expect("the deletion of a space", 0, 0)
	unused := spaceOf(t, driver, ns, "unused")
	deallocate(t, env, ns, "unused")
	framework.AwaitGone[*corev1.Namespace](t, framework.Namespace(env.Client, unused))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// requestCounter counts requests for single objects, except those that concern the controller itself.
type requestCounter struct {
	mutex  sync.Mutex
	counts map[string]int
}

func (c *requestCounter) intercept(call faults.Call, _ func()) faults.Answer {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if call.Resource != "" && call.Verb != "watch" && call.Verb != "list" && call.Resource != "resourceslices" && call.Resource != "events" {
		if call.Subresource != "" {
			call.Resource += "/" + call.Subresource
		}
		c.counts[call.Verb+" "+call.Resource]++
	}
	return faults.Forwarded
}

// await waits for a request.
func (c *requestCounter) await(t *testing.T, call string) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, framework.Timeout, true, func(context.Context) (bool, error) {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		return c.counts[call] > 0, nil
	})
	if err != nil {
		t.Fatalf("waited for %s: %v", call, err)
	}
}

// reset returns the counts, and sets them to 0.
func (c *requestCounter) reset() map[string]int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	before := c.counts
	c.counts = map[string]int{}
	return before
}

// TestControllerRequests_areAsDocumented counts the controller's requests in a proxy.
func TestControllerRequests_areAsDocumented(t *testing.T) {
	const driver = "users.example.com"
	calls := &requestCounter{counts: map[string]int{}}
	i := install(t, driver)
	i.proxy.Intercept(calls.intercept)
	i.start(t)
	for _, node := range []string{"users-a", "users-b"} {
		newNode(t, env, node, nil)
	}
	framework.CheckRequestCounts(t, func(counts *framework.RequestCounts) { i.countRequests(t, calls, counts) })
	awaitNoNamespaces(t, driver)
}

// countRequests counts the requests of each step once, with new claims and pods.
func (i *installation) countRequests(t *testing.T, calls *requestCounter, counts *framework.RequestCounts) {
	t.Helper()
	driver, ns := i.driver, env.Namespace(t)
	calls.reset()
	awaitUsedOn := func(pods ...*corev1.Pod) {
		t.Helper()
		awaitNodesRecorded(t, spaceapi.KeysFor(driver), readySpace(t, ns, "claim"), pods...)
	}
	expect := func(what string) {
		t.Helper()
		got := calls.reset()
		t.Logf("%s: %v", what, got)
		delete(got, "create subjectaccessreviews")
		reads, writes := 0, 0
		for call, n := range got {
			if strings.HasPrefix(call, "get ") {
				reads += n
			} else {
				writes += n
			}
		}
		counts.Count(what, reads, writes)
	}

	unused := provision(t, driver, ns, "unused")
	expect("a space that no pod uses")

	first := bind(t, createPod(t, ns, framework.NewPod("first")), "users-a")
	// The claim is Ready after the metadata of the space name the node.
	space := provision(t, driver, ns, "claim", reservedFor(first))
	awaitUsedOn(first)
	expect("a space that one pod uses")

	second := bind(t, createPod(t, ns, framework.NewPod("second")), "users-b")
	reserve(t, "claim", second)
	awaitUsedOn(first, second)
	expect("one more pod, on another node")

	third := bind(t, createPod(t, ns, framework.NewPod("third")), "users-b")
	reserve(t, "claim", third)
	release(t, "claim", first)
	awaitUsedOn(second, third)
	expect("one more pod on the same node, and one pod less")

	i.kill(t)
	i.start(t)
	fourth := bind(t, createPod(t, ns, framework.NewPod("fourth")), "users-a")
	reserve(t, "claim", fourth)
	awaitUsedOn(second, third, fourth)
	expect("a restarted controller, and one more pod")

	fifth := bind(t, createPod(t, ns, framework.NewPod("fifth")), "users-a")
	reserve(t, "claim", fifth)
	// The metadata names the node already, so that the read of the pod is the only request.
	calls.await(t, "get pods")
	expect("one more pod on a node that has one")

	deallocate(t, env, ns, "claim")
	env.AwaitNamespaceDeleted(t, space)
	expect("the deletion of a space")
	deallocate(t, env, ns, "unused")
	env.AwaitNamespaceDeleted(t, unused)
}

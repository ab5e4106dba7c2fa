// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// sync records the consumers of a claim, and returns when it looks again, how many pods it
// read, and whether it wrote.
func (c *cluster) sync(claim *resourceapi.ResourceClaim) (after time.Duration, reads int, wrote bool) {
	c.t.Helper()
	c.did()
	after, err := c.recordNodes(c.t.Context(), c.desired(claim))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, call := range c.did() {
		switch call {
		case "get pods":
			reads++
		case "patch namespaces":
			wrote = true
		default:
			c.t.Errorf("did %q", call)
		}
	}
	return after, reads, wrote
}

// nodesOf is what the API server has recorded of the nodes of a claim's space.
func (c *cluster) nodesOf(claim *resourceapi.ResourceClaim) string {
	ns := c.namespaceFor(claim)
	c.read(ns)
	return ns.Annotations[c.keys.Nodes]
}

func TestRecordNodes_followsThePodsThatUseTheSpace(t *testing.T) {
	replaced := podOn("a", "n1")
	replaced.UID = "another"
	for name, test := range map[string]struct {
		consumers, live []*corev1.Pod
		before, after   string
		reads           int
		wrote           bool
	}{
		"none":                               {nil, nil, "", "", 0, false},
		"one pod":                            {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{podOn("a", "n1")}, "", "n1=a-uid", 1, true},
		"pods on two nodes":                  {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n2"), podOn("b", "n1")}, "", "n1=b-uid,n2=a-uid", 2, true},
		"a pod that is recorded":             {[]*corev1.Pod{podOn("a", "")}, nil, "n1=a-uid", "n1=a-uid", 0, false},
		"another pod on the node":            {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("b", "n1")}, "n1=a-uid", "n1=a-uid", 1, false},
		"a pod that has ended":               {[]*corev1.Pod{podOn("b", "")}, nil, "n1=a-uid,n2=b-uid", "n2=b-uid", 0, true},
		"the last pod has ended":             {nil, nil, "n1=a-uid", "", 0, true},
		"a pod that does not exist":          {[]*corev1.Pod{podOn("a", "")}, nil, "", "", 1, false},
		"a pod whose name another one has":   {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{replaced}, "", "", 1, false},
		"a pod that was replaced on a node":  {[]*corev1.Pod{podOn("b", "")}, []*corev1.Pod{podOn("b", "n1")}, "n1=a-uid", "n1=a-uid", 1, false},
		"one is bound, and another is not":   {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n1"), podOn("b", "")}, "", "n1=a-uid", 1 + podReads, true},
		"the record cannot be read":          {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{podOn("a", "n1")}, "n1,n2", "n1=a-uid", 1, true},
		"a pod on a node of a similar name":  {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("b", "n1.x")}, "n1=a-uid", "n1.x=b-uid,n1=a-uid", 1, true},
		"two pods on one node, both are new": {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n1"), podOn("b", "n1")}, "", "n1=a-uid,n1=b-uid", 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := withSpace(t, func(ns *corev1.Namespace) {
				if test.before != "" {
					ns.Annotations[driver+"/nodes"] = test.before
				}
			})
			for _, pod := range test.live {
				c.live(pod)
			}
			claim := usedBy(test.consumers...)
			_, reads, wrote := c.sync(claim)
			if wrote != test.wrote {
				t.Errorf("wrote: %t, want %t", wrote, test.wrote)
			}
			if reads != test.reads {
				t.Errorf("%d pods were read, want %d", reads, test.reads)
			}
			if got := c.nodesOf(claim); got != test.after {
				t.Errorf("recorded %q, want %q", got, test.after)
			}
		})
	}
}

func TestRecordNodes_readsNoBoundPodTwice(t *testing.T) {
	c, _ := withSpace(t, unchanged) // whose record never comes back
	claim := usedBy(podOn("a", ""), podOn("gone", ""))
	c.live(podOn("a", "n1"))
	for i, want := range []int{2, 0, 0} {
		if _, reads, wrote := c.sync(claim); reads != want || wrote != (i == 0) {
			t.Errorf("time %d: %d pods were read, want %d; wrote: %t", i, reads, want, wrote)
		}
	}
}

func TestRecordNodes_writesAgainWhileTheCacheLags(t *testing.T) {
	first, second := podOn("a", "n1"), podOn("b", "n1")
	c, ns := withSpace(t, func(ns *corev1.Namespace) { ns.Annotations[driver+"/nodes"] = "n1=a-uid" })
	c.catchUp(ns) // and stays so
	c.live(second)
	for i, step := range []struct {
		consumers []*corev1.Pod
		want      string
	}{
		{nil, ""},
		{[]*corev1.Pod{second}, "n1=b-uid"},
		{nil, ""},
		{[]*corev1.Pod{first}, ""},
	} {
		claim := usedBy(step.consumers...)
		c.sync(claim)
		if got := c.nodesOf(claim); got != step.want {
			t.Errorf("step %d: recorded %q, want %q", i, got, step.want)
		}
	}
}

func TestRecordNodes_readsAnUnboundPodLessAndLess(t *testing.T) {
	c, _ := withSpace(t, unchanged)
	claim := usedBy(podOn("a", ""))
	c.live(podOn("a", ""))
	for i, want := range []struct {
		reads int
		after time.Duration
	}{{podReads, firstReread}, {1, 2 * firstReread}, {1, 4 * firstReread}, {1, lastReread}, {1, lastReread}} {
		if after, reads, _ := c.sync(claim); reads != want.reads || after != want.after {
			t.Errorf("time %d: %d reads, and looks again after %s, want %+v", i, reads, after, want)
		}
	}
	c.live(podOn("b", ""))
	if after, _, _ := c.sync(usedBy(podOn("a", ""), podOn("b", ""))); after != firstReread {
		t.Errorf("another pod is read again after %s only", after)
	}
}

func TestRecordNodes_keepsNodesWhenAPodCannotBeRead(t *testing.T) {
	c, _ := withSpace(t, func(ns *corev1.Namespace) { ns.Annotations[driver+"/nodes"] = "n1=a-uid" })
	c.fail("get pods", errors.New("the API server is overloaded"))
	claim := usedBy(podOn("b", "")) // on n1 as well, and a no longer exists
	_, err := c.recordNodes(t.Context(), c.desired(claim))
	if got := c.nodesOf(claim); err == nil || got != "n1=a-uid" {
		t.Errorf("recorded %q, error %v", got, err)
	}
}

func TestReconcile_rejectsClaimsForOtherConsumersThanPods(t *testing.T) {
	group := resourceapi.ResourceClaimConsumerReference{APIGroup: "scheduling.k8s.io", Resource: "podgroups", Name: "gang", UID: "gang-uid"}
	const words = "podgroups.scheduling.k8s.io gang"
	for name, test := range map[string]struct {
		before, now []resourceapi.ResourceClaimConsumerReference
		ready       bool
		reported    bool
	}{
		"a PodGroup":                  {nil, []resourceapi.ResourceClaimConsumerReference{group}, false, true},
		"a PodGroup and then a pod":   {[]resourceapi.ResourceClaimConsumerReference{group}, usedBy(podOn("a", "")).Status.ReservedFor, true, false},
		"a pod and a PodGroup":        {nil, append(usedBy(podOn("a", "")).Status.ReservedFor, group), true, true},
		"a pod, and later a PodGroup": {usedBy(podOn("a", "")).Status.ReservedFor, []resourceapi.ResourceClaimConsumerReference{group}, true, true},
		"nothing yet":                 {nil, nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, claimFor("a"), podOn("a", "node-a"))
			for i, consumers := range [][]resourceapi.ResourceClaimConsumerReference{test.before, test.now} {
				if i == 0 && consumers == nil {
					continue
				}
				live := c.liveOne()
				live.Status.ReservedFor = consumers
				if err := c.api.Status().Update(t.Context(), live); err != nil {
					t.Fatal(err)
				}
				c.catchUp(live)
				c.recorded()
				c.reconcileAndCatchUp(t)
			}
			live := c.liveOne()
			if isReady(live, driver, allocationOf(t, live)) != test.ready {
				t.Errorf("ready: %t, want %t", !test.ready, test.ready)
			}
			if !test.ready && (len(c.ofClaim()) > 0 || !strings.Contains(live.Status.Devices[0].Conditions[0].Message, words)) {
				t.Errorf("namespaces %v, status %v", c.ofClaim(), live.Status.Devices)
			}
			if events := strings.Join(c.recorded(), "\n"); strings.Contains(events, spaceapi.ReasonUnsupportedConsumer) != test.reported || test.reported && !strings.Contains(events, words) {
				t.Errorf("recorded %q", events)
			}
		})
	}
}

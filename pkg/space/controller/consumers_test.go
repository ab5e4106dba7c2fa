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

// syncNodes records the nodes of a claim. It returns the delay until the next time, the number of pods
// that it read, and whether it wrote.
func (c *cluster) syncNodes(claim *resourceapi.ResourceClaim) (after time.Duration, reads int, wrote bool) {
	c.t.Helper()
	c.requests()
	after, err := c.recordNodes(c.t.Context(), c.desired(claim))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, call := range c.requests() {
		switch call {
		case "get pods":
			reads++
		case "patch namespaces":
			wrote = true
		default:
			c.t.Errorf("got request %q", call)
		}
	}
	return after, reads, wrote
}

// recordedNodesOf returns the annotation with the nodes of a claim's space.
func (c *cluster) recordedNodesOf(claim *resourceapi.ResourceClaim) string {
	ns := c.namespaceFor(claim)
	c.read(ns)
	return ns.Annotations[c.keys.Nodes]
}

func TestRecordNodes_recordsTheNodesOfConsumers(t *testing.T) {
	replaced := podOn("a", "n1")
	replaced.UID = "another"
	for name, test := range map[string]struct {
		consumers, live []*corev1.Pod
		before, after   string
		reads           int
		wrote           bool
	}{
		"none":                                   {nil, nil, "", "", 0, false},
		"one pod":                                {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{podOn("a", "n1")}, "", "n1=a-uid", 1, true},
		"pods on two nodes":                      {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n2"), podOn("b", "n1")}, "", "n1=b-uid,n2=a-uid", 2, true},
		"a pod that is recorded":                 {[]*corev1.Pod{podOn("a", "")}, nil, "n1=a-uid", "n1=a-uid", 0, false},
		"another pod on the node":                {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("b", "n1")}, "n1=a-uid", "n1=a-uid", 1, false},
		"a pod that no longer uses it":           {[]*corev1.Pod{podOn("b", "")}, nil, "n1=a-uid,n2=b-uid", "n2=b-uid", 0, true},
		"no pod uses it any more":                {nil, nil, "n1=a-uid", "", 0, true},
		"a pod that does not exist":              {[]*corev1.Pod{podOn("a", "")}, nil, "", "", 1, false},
		"a pod that was recreated":               {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{replaced}, "", "", 1, false},
		"another pod instead of one on the node": {[]*corev1.Pod{podOn("b", "")}, []*corev1.Pod{podOn("b", "n1")}, "n1=a-uid", "n1=a-uid", 1, false},
		"one is bound, and another is not":       {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n1"), podOn("b", "")}, "", "n1=a-uid", 1 + maxPodReads, true},
		"the annotation is damaged":              {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{podOn("a", "n1")}, "n1,n2", "n1=a-uid", 1, true},
		"a pod on a node of a similar name":      {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("b", "n1.x")}, "n1=a-uid", "n1.x=b-uid,n1=a-uid", 1, true},
		"two pods on one node, both are new":     {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n1"), podOn("b", "n1")}, "", "n1=a-uid,n1=b-uid", 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := newClusterWithSpace(t, func(ns *corev1.Namespace) {
				if test.before != "" {
					ns.Annotations[driver+"/nodes"] = test.before
				}
			})
			for _, pod := range test.live {
				c.createInAPI(pod)
			}
			claim := claimUsedBy(test.consumers...)
			_, reads, wrote := c.syncNodes(claim)
			if wrote != test.wrote {
				t.Errorf("wrote: %t, want %t", wrote, test.wrote)
			}
			if reads != test.reads {
				t.Errorf("%d pods were read, want %d", reads, test.reads)
			}
			if got := c.recordedNodesOf(claim); got != test.after {
				t.Errorf("recorded %q, want %q", got, test.after)
			}
		})
	}
}

func TestRecordNodes_readsABoundPodOnce(t *testing.T) {
	c, _ := newClusterWithSpace(t, unchanged) // The cache lags behind.
	claim := claimUsedBy(podOn("a", ""), podOn("absent", ""))
	c.createInAPI(podOn("a", "n1"))
	for i, want := range []int{2, 0, 0} {
		if _, reads, wrote := c.syncNodes(claim); reads != want || wrote != (i == 0) {
			t.Errorf("time %d: %d pods were read, want %d; wrote: %t", i, reads, want, wrote)
		}
	}
}

func TestRecordNodes_usesItsOwnWritesWhileTheCacheLags(t *testing.T) {
	first, second := podOn("a", "n1"), podOn("b", "n1")
	c, ns := newClusterWithSpace(t, func(ns *corev1.Namespace) { ns.Annotations[driver+"/nodes"] = "n1=a-uid" })
	c.syncCache(ns) // It is not updated later.
	c.createInAPI(second)
	for i, step := range []struct {
		consumers []*corev1.Pod
		want      string
	}{
		{nil, ""},
		{[]*corev1.Pod{second}, "n1=b-uid"},
		{nil, ""},
		{[]*corev1.Pod{first}, ""},
	} {
		claim := claimUsedBy(step.consumers...)
		c.syncNodes(claim)
		if got := c.recordedNodesOf(claim); got != step.want {
			t.Errorf("step %d: recorded %q, want %q", i, got, step.want)
		}
	}
}

func TestRecordNodes_backsOffForUnboundPods(t *testing.T) {
	c, _ := newClusterWithSpace(t, unchanged)
	claim := claimUsedBy(podOn("a", ""))
	c.createInAPI(podOn("a", ""))
	for i, want := range []struct {
		reads int
		after time.Duration
	}{{maxPodReads, firstReread}, {1, 2 * firstReread}, {1, 4 * firstReread}, {1, lastReread}, {1, lastReread}} {
		if after, reads, _ := c.syncNodes(claim); reads != want.reads || after != want.after {
			t.Errorf("time %d: %d reads, next after %s, want %+v", i, reads, after, want)
		}
	}
	c.createInAPI(podOn("b", ""))
	if after, _, _ := c.syncNodes(claimUsedBy(podOn("a", ""), podOn("b", ""))); after != firstReread {
		t.Errorf("another pod is read after %s, want %s", after, firstReread)
	}
}

func TestRecordNodes_keepsNodesIfAPodCannotBeRead(t *testing.T) {
	c, _ := newClusterWithSpace(t, func(ns *corev1.Namespace) { ns.Annotations[driver+"/nodes"] = "n1=a-uid" })
	c.fail("get pods", errors.New("the API server is overloaded"))
	claim := claimUsedBy(podOn("b", "")) // on n1 as well, and a no longer exists
	_, err := c.recordNodes(t.Context(), c.desired(claim))
	if got := c.recordedNodesOf(claim); err == nil || got != "n1=a-uid" {
		t.Errorf("recorded %q, error %v", got, err)
	}
}

func TestReconcile_rejectsUnsupportedConsumers(t *testing.T) {
	group := resourceapi.ResourceClaimConsumerReference{APIGroup: "scheduling.k8s.io", Resource: "podgroups", Name: "gang", UID: "gang-uid"}
	const words = "podgroups.scheduling.k8s.io gang"
	for name, test := range map[string]struct {
		before, now []resourceapi.ResourceClaimConsumerReference
		ready       bool
		reported    bool
	}{
		"a PodGroup":                  {nil, []resourceapi.ResourceClaimConsumerReference{group}, false, true},
		"a PodGroup and then a pod":   {[]resourceapi.ResourceClaimConsumerReference{group}, claimUsedBy(podOn("a", "")).Status.ReservedFor, true, false},
		"a pod and a PodGroup":        {nil, append(claimUsedBy(podOn("a", "")).Status.ReservedFor, group), true, true},
		"a pod, and later a PodGroup": {claimUsedBy(podOn("a", "")).Status.ReservedFor, []resourceapi.ResourceClaimConsumerReference{group}, true, true},
		"no consumer":                 {nil, nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, claimFor("a"), podOn("a", "node-a"))
			for i, consumers := range [][]resourceapi.ResourceClaimConsumerReference{test.before, test.now} {
				if i == 0 && consumers == nil {
					continue
				}
				c.updateClaim(func(claim *resourceapi.ResourceClaim) { claim.Status.ReservedFor = consumers })
				c.recordedEvents()
				c.reconcileAndSyncCache(t)
			}
			live := c.currentClaim()
			if isReady(live, driver, allocationOf(t, live)) != test.ready {
				t.Errorf("ready: %t, want %t", !test.ready, test.ready)
			}
			if !test.ready && (len(c.cachedNamespaces()) > 0 || !strings.Contains(live.Status.Devices[0].Conditions[0].Message, words)) {
				t.Errorf("namespaces %v, status %v", c.cachedNamespaces(), live.Status.Devices)
			}
			if events := strings.Join(c.recordedEvents(), "\n"); strings.Contains(events, spaceapi.ReasonUnsupportedConsumer) != test.reported || test.reported && !strings.Contains(events, words) {
				t.Errorf("recorded %q", events)
			}
		})
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

const onFailure = `"retention":{"period":"1h","when":"OnFailure"}`

// failed is a pod that failed.
func failed(name string) *corev1.Pod {
	pod := podOn(name, "node")
	pod.Status.Phase = corev1.PodFailed
	return pod
}

// newClusterWithPods returns a cluster with a space in use by pods, whose class has these fields.
func newClusterWithPods(t *testing.T, class string, pods ...*corev1.Pod) *cluster {
	t.Helper()
	claim := withClassConfig(claimUsedBy(pods...), class)
	c := newCluster(t, claim)
	for _, pod := range pods {
		c.createInAPI(pod)
	}
	c.syncCache(claim)
	c.reconcileAndSyncCache(t)
	c.requests()
	c.recordedEvents()
	return c
}

// restart clears what the controller has in memory.
func (c *cluster) restart() {
	c.consumers, c.warnings, c.podNodes = lru.New(10), lru.New(10), lru.New(10)
	c.writtenNamespaces.RemoveAll(func(any) bool { return true })
}

func TestReconcile_retainsOnFailure(t *testing.T) {
	read := []string{"get pods"}
	none := func(*cluster, *corev1.Pod) {}
	for name, test := range map[string]struct {
		class    string
		pod      *corev1.Pod
		change   func(*cluster, *corev1.Pod)
		reads    []string
		retained bool
	}{
		"a failed pod":    {onFailure, failed("pod"), none, read, true},
		"a succeeded pod": {onFailure, podOn("pod", "node"), none, read, false},
		"a pod that was deleted": {onFailure, failed("pod"), func(c *cluster, pod *corev1.Pod) {
			pod.Finalizers = []string{"example.com/pending"}
			if err := c.api.Update(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			c.deleteInAPI(pod)
		}, read, false},
		"a pod that no longer exists": {onFailure, failed("pod"), func(c *cluster, pod *corev1.Pod) { c.deleteInAPI(pod) }, read, false},
		"another pod of its name": {onFailure, failed("pod"), func(c *cluster, pod *corev1.Pod) {
			c.deleteInAPI(pod)
			pod.UID = "another"
			c.createInAPI(pod)
		}, read, false},
		"an unknown pod, after a restart": {onFailure, failed("pod"), func(c *cluster, _ *corev1.Pod) { c.restart() }, nil, false},
		"Always":                          {`"retention":{"period":"1h"}`, podOn("pod", "node"), none, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterWithPods(t, test.class, test.pod)
			c.read(test.pod)
			test.change(c, test.pod)
			c.requests()
			c.updateClaim(deallocate)
			c.mustReconcile()
			requests := c.requests()
			reads := slices.DeleteFunc(slices.Clone(requests), func(request string) bool { return request != "get pods" })
			if !slices.Equal(reads, test.reads) {
				t.Errorf("read %q, want %q", reads, test.reads)
			}
			if deleted := slices.Contains(requests, "delete namespaces"); deleted == test.retained {
				t.Errorf("deleted the namespace: %t", deleted)
			}
			events := strings.Join(c.recordedEvents(), "\n")
			words := map[bool]string{true: "because pod pod failed", false: "because no pod is known to have failed"}[test.retained]
			if test.class == onFailure && !strings.Contains(events, words) {
				t.Errorf("recorded %q, want %q", events, words)
			}
		})
	}
}

func TestRecordFailures_writesOnce(t *testing.T) {
	first, second, third := failed("first"), failed("second"), podOn("third", "node")
	c := newClusterWithPods(t, onFailure, first, second, third)
	ns := c.spaceWith().Namespace
	reserve := func(pods ...*corev1.Pod) {
		c.updateClaim(func(claim *resourceapi.ResourceClaim) {
			claim.Status.ReservedFor = claimUsedBy(pods...).Status.ReservedFor
		})
		c.mustReconcile()
		c.syncCache(ns)
	}
	reserve(second, third)
	if got, want := c.requests(), []string{"get pods", "patch namespaces"}; !slices.Equal(got, want) {
		t.Errorf("the first failure: got requests %q, want %q", got, want)
	}
	reserve(third)
	if got := c.requests(); len(got) > 0 {
		t.Errorf("the second failure: got requests %q", got)
	}
	c.restart()
	c.mustReconcile()
	c.requests()
	c.updateClaim(deallocate)
	c.mustReconcile()
	if got := c.requests(); slices.Contains(got, "delete namespaces") || slices.Contains(got, "get pods") {
		t.Errorf("after a restart: got requests %q", got)
	}
	if c.read(ns); ns.Annotations[c.keys.FailedPod] != "first" || ns.Annotations[c.keys.RetainedUntil] == "" {
		t.Errorf("the namespace has %q", ns.Annotations)
	}
	c.syncCache(ns)
	c.recordedEvents()
	c.now.Step(time.Hour)
	c.mustReconcile()
	if events := c.recordedEvents(); len(events) != 1 || !strings.HasSuffix(events[0], "namespace "+ns.Name+" deleted") {
		t.Errorf("at the end of the retention, recorded %q", events)
	}
}

func TestRecordFailures_readsAPodAgainAfterAnError(t *testing.T) {
	c := newClusterWithPods(t, onFailure, failed("pod"), podOn("other", "node"))
	cause := errors.New("no")
	c.updateClaim(func(claim *resourceapi.ResourceClaim) {
		claim.Status.ReservedFor = claimUsedBy(podOn("other", "node")).Status.ReservedFor
	})
	fails := true
	c.react("get pods", func(client.Object) (bool, error) { return fails, cause })
	if _, err := c.reconcile(); !errors.Is(err, cause) {
		t.Fatalf("got error %v", err)
	}
	fails = false
	c.mustReconcile()
	if ns := c.spaceWith().Namespace; !c.read(ns) || ns.Annotations[c.keys.FailedPod] != "pod" {
		t.Errorf("the namespace has %q", ns.Annotations)
	}
}

// A failure that is known but cannot be recorded still counts: the namespace is not deleted.
func TestRecordFailures_keepsTheNamespaceIfTheWriteFails(t *testing.T) {
	c := newClusterWithPods(t, onFailure, failed("pod"))
	c.fail("patch namespaces", errors.New("no"))
	c.updateClaim(deallocate)
	if _, err := c.reconcile(); err == nil {
		t.Error("got no error")
	}
	if got, want := c.writes(), []string{"patch namespaces", "delete rolebindings", "delete serviceaccounts", "patch namespaces"}; !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
	if events := strings.Join(c.recordedEvents(), "\n"); !strings.Contains(events, spaceapi.ReasonDeprovisioningFailed) {
		t.Errorf("recorded %q", events)
	}
}

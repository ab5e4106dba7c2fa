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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
)

func podOn(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name + "-uid")},
		Spec:       corev1.PodSpec{NodeName: node},
	}
}

// usedBy is the claim with these pods as its users.
func usedBy(pods ...*corev1.Pod) *resourceapi.ResourceClaim {
	claim := claimOf("a")
	claim.Status.ReservedFor = nil
	for _, pod := range pods {
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
	}
	return claim
}

// reads counts the pods that were read since the last time.
func (c *cluster) reads() int {
	n := 0
	for _, action := range c.api.Actions() {
		if action.Matches("get", "pods") {
			n++
		}
	}
	c.api.ClearActions()
	return n
}

func TestWhatIsNotedOfTheUsersOfASpace(t *testing.T) {
	replaced := podOn("a", "n1")
	replaced.UID = "another"
	for name, test := range map[string]struct {
		users, live []*corev1.Pod
		before      string
		after       string
		reads       int
		patched     bool
	}{
		"nobody":                             {nil, nil, "", "", 0, false},
		"one pod":                            {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{podOn("a", "n1")}, "", "n1=a-uid", 1, true},
		"pods on two nodes":                  {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n2"), podOn("b", "n1")}, "", "n1=b-uid,n2=a-uid", 2, true},
		"a pod that is noted":                {[]*corev1.Pod{podOn("a", "")}, nil, "n1=a-uid", "n1=a-uid", 0, false},
		"another pod on the node":            {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("b", "n1")}, "n1=a-uid", "n1=a-uid", 1, false},
		"a pod that has ended":               {[]*corev1.Pod{podOn("b", "")}, nil, "n1=a-uid,n2=b-uid", "n2=b-uid", 0, true},
		"the last pod has ended":             {nil, nil, "n1=a-uid", "", 0, true},
		"a pod that has gone":                {[]*corev1.Pod{podOn("a", "")}, nil, "", "", 1, false},
		"a pod whose name another one has":   {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{replaced}, "", "", 1, false},
		"a pod that was replaced on a node":  {[]*corev1.Pod{podOn("b", "")}, []*corev1.Pod{podOn("b", "n1")}, "n1=a-uid", "n1=a-uid", 1, false},
		"one is bound, and another is not":   {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n1"), podOn("b", "")}, "", "n1=a-uid", 1 + looks, true},
		"what is noted can't be made out":    {[]*corev1.Pod{podOn("a", "")}, []*corev1.Pod{podOn("a", "n1")}, "n1,n2", "n1=a-uid", 1, true},
		"a pod on a node of a similar name":  {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("b", "n1.x")}, "n1=a-uid", "n1.x=b-uid,n1=a-uid", 1, true},
		"two pods on one node, both are new": {[]*corev1.Pod{podOn("a", ""), podOn("b", "")}, []*corev1.Pod{podOn("a", "n1"), podOn("b", "n1")}, "", "n1=a-uid,n1=b-uid", 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			claim := usedBy(test.users...)
			ns := c.namespaceOf(claim)
			if test.before != "" {
				ns.Annotations[c.keys.Nodes] = test.before
			}
			c.live(c.cached(ns).DeepCopy())
			for _, pod := range test.live {
				c.live(pod)
			}
			if err := c.noteUsers(t.Context(), claim, allocationOf(t, claim)); err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(c.wrote(), "patch namespaces"); got != test.patched {
				t.Errorf("patched: %t, want %t", got, test.patched)
			}
			if got := c.reads(); got != test.reads {
				t.Errorf("%d pods were read, want %d", got, test.reads)
			}
			now, err := c.api.CoreV1().Namespaces().Get(t.Context(), ns.Name, metav1.GetOptions{})
			if err != nil || now.Annotations[c.keys.Nodes] != test.after {
				t.Errorf("noted %q, want %q (error: %v)", now.Annotations[c.keys.Nodes], test.after, err)
			}
		})
	}
}

func TestNoPodIsReadTwiceOnceItIsBound(t *testing.T) {
	c := newController(t)
	claim := usedBy(podOn("a", ""), podOn("gone", ""))
	c.live(c.cached(c.namespaceOf(claim)).DeepCopy()) // whose note never comes back
	c.live(podOn("a", "n1"))
	for i, want := range []int{2, 0, 0} {
		if err := c.noteUsers(t.Context(), claim, allocationOf(t, claim)); err != nil {
			t.Fatal(err)
		}
		if got := c.reads(); got != want {
			t.Errorf("look %d: %d pods were read, want %d", i, got, want)
		}
	}
	c.places.forget(key)
	if err := c.noteUsers(t.Context(), claim, allocationOf(t, claim)); err != nil || c.reads() != 2 {
		t.Errorf("a forgotten claim is not looked at anew (error: %v)", err)
	}
}

func TestWhatTheCacheSaysOfAClaimsPodsIsNotInMemoryTwice(t *testing.T) {
	c := newController(t)
	claim := usedBy(podOn("a", ""))
	ns := c.namespaceOf(claim)
	c.live(c.cached(ns).DeepCopy())
	c.live(podOn("a", "n1"))
	look := func(when string, reads, remembered int) {
		t.Helper()
		if err := c.noteUsers(t.Context(), claim, allocationOf(t, claim)); err != nil {
			t.Fatal(err)
		}
		if got := c.reads(); got != reads {
			t.Errorf("%s: %d pods were read, want %d", when, got, reads)
		}
		place := c.places.claims[key]
		if got := len(place.nodes) + len(place.written) + len(place.late); got != remembered {
			t.Errorf("%s: %d things are remembered, want %d: %+v", when, got, remembered, place)
		}
	}
	look("before the cache has the note", 1, 2)
	noted := ns.DeepCopy()
	noted.Annotations[c.keys.Nodes] = "n1=a-uid"
	noted.Annotations[c.keys.Pods] = "a"
	noted.ResourceVersion = "1000"
	c.cached(noted)
	look("once it has", 0, 0)
	c.places.forget(key)
	c.places.latest(key, noted)
	c.places.upToDate(key, noted.Name)
	if len(c.places.claims) != 0 {
		t.Error("a claim that was forgotten is remembered")
	}
}

func TestPodsThatComeAndGoFasterThanTheCacheFollowsAreNoted(t *testing.T) {
	c := newController(t)
	first, second := podOn("a", "n1"), podOn("b", "n1")
	noted := c.namespaceOf(usedBy(first))
	noted.Annotations[c.keys.Nodes] = "n1=a-uid"
	noted.ResourceVersion = "9"
	c.cached(noted) // and stays so
	live := noted.DeepCopy()
	live.ResourceVersion = "10" // as it is after the next write
	c.live(live)
	c.live(second)
	for _, step := range []struct {
		users []*corev1.Pod
		want  string
	}{
		{nil, ""},
		{[]*corev1.Pod{second}, "n1=b-uid"},
		{nil, ""},
	} {
		claim := usedBy(step.users...)
		if err := c.noteUsers(t.Context(), claim, allocationOf(t, claim)); err != nil {
			t.Fatal(err)
		}
		now, err := c.api.CoreV1().Namespaces().Get(t.Context(), noted.Name, metav1.GetOptions{})
		if err != nil || now.Annotations[c.keys.Nodes] != step.want {
			t.Errorf("noted %q, want %q (error: %v)", now.Annotations[c.keys.Nodes], step.want, err)
		}
	}
	caughtUp := live.DeepCopy()
	caughtUp.ResourceVersion = "11"
	if c.places.latest(key, c.cached(caughtUp)) != caughtUp || len(c.places.claims[key].written) != 0 {
		t.Error("what was written is kept although the cache has it")
	}
}

func TestAPodThatIsNotBoundIsLookedAtLessAndLess(t *testing.T) {
	c := newController(t)
	claim := usedBy(podOn("a", ""))
	a := allocationOf(t, claim)
	c.live(c.cached(c.namespaceOf(claim)).DeepCopy())
	c.live(podOn("a", ""))
	for i, want := range []int{looks, 1, 1} {
		if err := c.noteUsers(t.Context(), claim, a); err != nil {
			t.Fatal(err)
		}
		if got := c.reads(); got != want {
			t.Errorf("look %d: %d reads, want %d", i, got, want)
		}
	}
	unbound := claim.Status.ReservedFor
	for _, want := range []time.Duration{2 * time.Second, 2 * time.Second} {
		if got := c.places.again(key, unbound); got != want {
			t.Errorf("looks again after %s, want %s", got, want)
		}
	}
	claim = usedBy(podOn("a", ""), podOn("b", ""))
	if got := c.places.again(key, claim.Status.ReservedFor); got != firstLookAgain {
		t.Errorf("another pod is looked at after %s only", got)
	}
}

func TestWhoUsesAClaimIsFollowedByTheClaim(t *testing.T) {
	c := newController(t)
	before, after := usedBy(podOn("a", "")), usedBy(podOn("a", ""), podOn("b", ""))
	if !c.concernsUs(before, after) || !c.concernsUs(after, before) {
		t.Error("another user of a claim is not noticed")
	}
	if c.concernsUs(before, before.DeepCopy()) {
		t.Error("a claim that is as it was is looked at")
	}
}

func TestUsersThatCantBeFoundKeepNoSpaceFromBecomingReady(t *testing.T) {
	c := newController(t)
	c.api.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), "a", errors.New("no right"))
	})
	claim := usedBy(podOn("a", ""))
	c.live(claim)
	err := c.ensure(t.Context(), claim, c.planOf(claim))
	if err == nil || !strings.Contains(err.Error(), "on which node pod team/a uses ResourceClaim claim") {
		t.Errorf("got error %v", err)
	}
	now, getErr := c.api.ResourceV1().ResourceClaims("team").Get(t.Context(), "claim", metav1.GetOptions{})
	if getErr != nil || !isReady(now, driver, allocationOf(t, claim)) {
		t.Errorf("the claim is not ready: %+v (error: %v)", now, getErr)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// served is a space whose note is brought up to date again and again.
type served struct {
	*cluster
	space string
}

// note says who uses the claim now, and returns whether that was written and what
// the space then says of the pods.
func (s *served) note(pods ...*corev1.Pod) (written bool, names string) {
	s.t.Helper()
	claim := usedBy(pods...)
	s.api.ClearActions()
	if err := s.noteUsers(s.t.Context(), claim, allocationOf(s.t, claim)); err != nil {
		s.t.Fatal(err)
	}
	written = slices.Contains(s.wrote(), "patch namespaces")
	now, err := s.api.CoreV1().Namespaces().Get(s.t.Context(), s.space, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.cached(now)
	return written, now.Annotations[s.keys.Pods]
}

func (s *served) want(what string, written bool, names string, pods ...*corev1.Pod) {
	s.t.Helper()
	if gotWritten, got := s.note(pods...); gotWritten != written || got != names {
		s.t.Errorf("%s: written %t, says %q, want %t, %q", what, gotWritten, got, written, names)
	}
}

func TestTheNamesOfPodsCostAWriteOfTheirOwnOnlyAfterAWhile(t *testing.T) {
	c := newController(t)
	a, b, d := podOn("a", "n1"), podOn("b", "n1"), podOn("d", "n2")
	ns := c.namespaceOf(usedBy(a))
	c.live(c.cached(ns).DeepCopy())
	for _, pod := range []*corev1.Pod{a, b, d} {
		c.live(pod)
	}
	s := &served{c, ns.Name}
	s.want("the first pod is noted with its node", true, "a", a)
	s.want("nothing new", false, "a", a)
	s.want("another pod on the node can wait", false, "a", b, a)
	c.now.Step(namesDelay - 1)
	s.want("so can its end", false, "a", a)
	s.want("which begins a new wait", false, "a", a, b)
	c.now.Step(namesDelay - 1)
	s.want("too soon", false, "a", a, b)
	c.now.Step(1)
	s.want("in time", true, "a,b", a, b)
	s.want("an end can wait", false, "a,b", b)
	s.want("but goes along with what can't", true, "b,d", b, d)
	c.now.Step(namesDelay)
	s.want("and is not written again", false, "b,d", b, d)
	s.want("a node that is no longer used", true, "b", b)
	s.want("nobody", true, "")
}

func TestAPodThatHasGoneIsNotServed(t *testing.T) {
	c := newController(t)
	a := podOn("a", "n1")
	ns := c.namespaceOf(usedBy(a))
	c.live(c.cached(ns).DeepCopy())
	c.live(a)
	s := &served{c, ns.Name}
	s.want("a pod, and one that the claim still names", true, "a", a, podOn("gone", ""))
}

func TestAPodThatIsNotBoundForLongIsNamedAllTheSame(t *testing.T) {
	c := newController(t)
	waits := podOn("a", "")
	ns := c.namespaceOf(usedBy(waits))
	c.live(c.cached(ns).DeepCopy())
	c.live(waits)
	s := &served{c, ns.Name}
	s.want("at first", false, "", waits)
	c.now.Step(namesDelay)
	s.want("later", true, "a", waits)
}

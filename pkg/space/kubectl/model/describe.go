// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Describe writes all that is known about the spaces of a claim, and about what is left
// of those that have ended.
func (s *Snapshot) Describe(out io.Writer, namespace, name string) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(name string, value any) { fmt.Fprintf(w, "%s:\t%v\n", name, value) }
	var spaces []Space
	line("Claim", name)
	line("Namespace", namespace)
	if claim := s.Claim(namespace, name); claim != nil {
		spaces = s.SpacesOf(claim)
		line("UID", claim.UID)
		line("Created", when(s.Now, claim.CreationTimestamp.Time))
		if at := spaces[0].AllocatedAt; at != nil {
			line("Allocated", when(s.Now, at.Time))
		}
		line("Pods", list(spaces[0].Pods))
		line("Nodes", list(spaces[0].Nodes))
	}
	spaces = append(spaces, s.Remains(namespace, name)...)
	for _, space := range spaces {
		fmt.Fprintf(w, "Space:\t%s\n", orNone(space.Space))
		inner := func(name, value string) { fmt.Fprintf(w, "  %s:\t%s\n", name, value) }
		inner("State", space.State)
		if space.Message != "" {
			inner("Message", space.Message)
		}
		inner("Request", orNone(space.Request))
		inner("Class", orNone(space.Class))
		inner("Pool", orNone(space.Pool))
		if space.Device != "" {
			inner("Device", space.Device)
			inner("Allocation", space.AllocationID)
		}
		if space.RetainedUntil != "" {
			inner("Retained until", space.RetainedUntil)
		}
		if space.State == StateReady {
			inner("Server", space.Server)
			inner("ServiceAccount", space.ServiceAccount)
		}
		if ns := s.Namespace(space.Space); ns != nil {
			s.describeNamespace(inner, ns)
		}
		s.describeQuota(w, space)
	}
	s.describeEvents(w, namespace, name)
	if note := s.Note(); note != "" {
		fmt.Fprintf(w, "%s\n", note)
	}
	return w.Flush()
}

func (s *Snapshot) describeNamespace(inner func(name, value string), ns *corev1.Namespace) {
	keys := s.Keys()
	inner("Since", when(s.Now, ns.CreationTimestamp.Time))
	if standard := ns.Labels["pod-security.kubernetes.io/enforce"]; standard != "" {
		inner("Pod Security", standard)
	}
	network := ns.Labels[keys.Network]
	if network == "" {
		network = "Open"
	}
	inner("Network", network)
	if retain := ns.Annotations[keys.Retain]; retain != "" {
		inner("Retained for", retain)
	}
}

func (s *Snapshot) describeQuota(w io.Writer, space Space) {
	if len(space.Quota) == 0 {
		fmt.Fprintf(w, "  Quota:\t%s\n", s.quotaCell(space))
		return
	}
	fmt.Fprintf(w, "  Quota:\t\n")
	for _, q := range space.Quota {
		used := q.Used
		if used == "" {
			used = "?"
		}
		fmt.Fprintf(w, "    %s:\t%s of %s\n", q.Resource, used, q.Hard)
	}
}

// describeEvents writes the events about the claim as kubectl does, oldest first.
func (s *Snapshot) describeEvents(w io.Writer, namespace, name string) {
	events := s.allEvents("ResourceClaim", namespace, name)
	if len(events) == 0 {
		fmt.Fprintf(w, "Events:\t%s\n", none)
		return
	}
	fmt.Fprint(w, "Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n")
	slices.Reverse(events)
	for _, e := range events {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", e.Type, e.Reason, s.eventAge(e), from(e), strings.TrimSpace(e.Message))
	}
}

// eventAge is when something happened, and how often.
func (s *Snapshot) eventAge(e *corev1.Event) string {
	first, count := e.FirstTimestamp.Time, e.Count
	if first.IsZero() {
		first = e.EventTime.Time
	}
	if e.Series != nil {
		count = e.Series.Count
	}
	if count > 1 {
		return fmt.Sprintf("%s (x%d over %s)", Age(s.Now, eventTime(e)), count, Age(s.Now, first))
	}
	return Age(s.Now, eventTime(e))
}

func from(e *corev1.Event) string {
	if e.Source.Component != "" {
		return e.Source.Component
	}
	return e.ReportingController
}

// allEvents are the events about an object, the last first.
func (s *Snapshot) allEvents(kind, namespace, name string) []*corev1.Event {
	var out []*corev1.Event
	for i := range s.Events {
		if e := &s.Events[i]; e.InvolvedObject.Kind == kind && e.InvolvedObject.Namespace == namespace && e.InvolvedObject.Name == name {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b *corev1.Event) int { return eventTime(b).Compare(eventTime(a)) })
	return out
}

// eventTime is when an event was last seen. There are three places for that.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	default:
		return e.EventTime.Time
	}
}

func when(now, t time.Time) string {
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), duration.HumanDuration(now.Sub(t)))
}

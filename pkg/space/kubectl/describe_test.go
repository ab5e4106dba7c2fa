// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/describe"
)

// described returns the description of a claim, with single spaces.
func described(t *testing.T, s *snapshot, name string) string {
	t.Helper()
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	s.describe(describe.NewPrefixWriter(w), "team", name)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

func TestDescribe_showsAReadySpace(t *testing.T) {
	c := ready(t, "used", "pod")
	restored := event("used", "Restored", "restored it")
	restored.Source.Component, restored.Count = "controller", 3
	restored.FirstTimestamp, restored.LastTimestamp = metav1.NewTime(time.Now().Add(-5*time.Hour)), metav1.NewTime(time.Now().Add(-time.Hour))
	s := snapshotOf(c, pod("pod", "node-b", "used"), namespace(c), quota(spaceName(c)), restored, listClasses)
	text := described(t, s, "used")
	for _, want := range []string{
		"Claim: used", "Allocated: 2026-03-01T11:50:00Z (10m ago)", "Pods: pod", "Nodes: node-b", "Space: " + spaceName(c), "State: Ready",
		"pods: 3 of 4", "services.loadbalancers: 0 of 0", "Server: https://10.96.0.1:443", "Network: Open", "Type Reason Age From Message", "Warning Restored 60m (x3 over 5h) controller restored it", "You do not have permission to list deviceclasses",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}

func TestDescribe_showsDeprovisionedSpaces(t *testing.T) {
	retained := namespace(ready(t, "deleted"))
	retained.Annotations[keys.RetainedUntil] = "2026-03-01T13:00:00Z"
	text := described(t, snapshotOf(retained), "deleted")
	if !strings.Contains(text, "Claim: deleted") || !strings.Contains(text, "Space: "+retained.Name+" State: Retained") || !strings.Contains(text, "Retained until: 2026-03-01T13:00:00Z") {
		t.Errorf("got\n%s", text)
	}
}

func TestDescribe_showsEventsOfTheClaimItself(t *testing.T) {
	recreated, deleted := ready(t, "c"), ready(t, "c")
	deleted.UID = "deleted"
	terminating := namespace(deleted)
	terminating.DeletionTimestamp = &metav1.Time{Time: now}
	mine, earlier, others := event("c", "Restored", "mine"), event("c", "StuckTerminating", "earlier"), aboutAnother(event("c", "Forged", "others"))
	earlier.InvolvedObject.UID = deleted.UID
	for name, test := range map[string]struct {
		snapshot *snapshot
		want     []string
	}{
		"a recreated claim": {snapshotOf(recreated, mine, earlier, others), []string{"Restored"}},
		"a recreated claim, and a space of the deleted one": {snapshotOf(recreated, terminating, mine, earlier, others), []string{"Restored", "StuckTerminating"}},
		"a deleted claim": {snapshotOf(terminating, mine, earlier, others), []string{"StuckTerminating"}},
	} {
		text := described(t, test.snapshot, "c")
		for _, reason := range []string{"Restored", "StuckTerminating", "Forged"} {
			if want := slices.Contains(test.want, reason); strings.Contains(text, "Warning "+reason) != want {
				t.Errorf("%s: an event %s is shown: %t, want %t:\n%s", name, reason, !want, want, text)
			}
		}
	}
}

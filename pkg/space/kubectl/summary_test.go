// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// rows returns the cells that are shown, without the names of namespaces.
func rows(s *snapshot) []string {
	var out []string
	for _, row := range s.table(s.spaces(""), false, false).Rows {
		cells := append([]any{row.Cells[0]}, row.Cells[2:8]...)
		out = append(out, strings.TrimSuffix(fmt.Sprintln(cells...), "\n"))
	}
	return out
}

func TestSpaces_haveStates(t *testing.T) {
	used := ready(t, "used", "pod")
	retained, stuck, terminating := namespace(ready(t, "retained")), namespace(ready(t, "stuck")), namespace(ready(t, "terminating"))
	retained.Annotations[keys.RetainedUntil] = "2026-03-01T13:00:00Z"
	stuck.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Hour)}
	stuck.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "a finalizer remains"}}
	terminating.DeletionTimestamp = &metav1.Time{Time: now}
	deleted := claim("deleted", driver)
	deleted.DeletionTimestamp = &metav1.Time{Time: now}

	for name, test := range map[string]struct {
		snapshot *snapshot
		want     []string
	}{
		"ready, with all permissions": {
			snapshotOf(used, pod("pod", "node-b", "used"), namespace(used), quota(spaceName(used))),
			[]string{"used Ready pod node-b spaces pods 3/4 60m"},
		},
		"ready, with permission to list claims only": {
			snapshotOf(used, listPods, listNamespaces, listQuotas),
			[]string{"used Ready pod <unknown> spaces <unknown> 60m"},
		},
		"not ready": {
			snapshotOf(withCondition(t, allocated(claim("rejected", driver), "spaces", "pod"), spaceapi.ReasonInvalidParameters, "no")),
			[]string{"rejected InvalidParameters pod <none> spaces <none> 60m"},
		},
		"not reported yet": {
			snapshotOf(allocated(claim("new", driver), "spaces")),
			[]string{"new Provisioning <none> <none> spaces <none> 60m"},
		},
		"claims without an allocation": {
			snapshotOf(claim("pending", driver), claim("unused", driver), deleted, pod("pod", "", "pending")),
			[]string{"deleted Deprovisioning <none> <none> <none> <none> 60m", "pending Pending pod <none> <none> <none> 60m", "unused Unused <none> <none> <none> <none> 60m"},
		},
		"deprovisioning failed": {
			snapshotOf(retained, stuck, terminating, event("retained", "DeprovisioningFailed", retained.Name), event("stuck", "DeprovisioningFailed", stuck.Name), event("terminating", "Deprovisioned", terminating.Name)),
			[]string{
				"retained DeprovisioningFailed <none> <none> <none> <none> 9m", "stuck DeprovisioningFailed <none> <none> <none> <none> 9m",
				"terminating Terminating <none> <none> <none> <none> 9m",
			},
		},
		"deprovisioned": {
			snapshotOf(retained, stuck, terminating),
			[]string{
				"retained Retained <none> <none> <none> <none> 9m", "stuck ContentRemaining <none> <none> <none> <none> 9m",
				"terminating Terminating <none> <none> <none> <none> 9m",
			},
		},
	} {
		if got := rows(test.snapshot); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

func TestSpaces_omitsClaimsForOtherDevices(t *testing.T) {
	own := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: resourceapi.DeviceClassSpec{Selectors: []resourceapi.DeviceSelector{{
		CEL: &resourceapi.CELDeviceSelector{Expression: `device.driver == "` + driver + `"`},
	}}}}
	foreign := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}
	s := snapshotOf(claim("a", "own"), claim("b", "gpu"), own, foreign)
	if got := rows(s); len(got) != 1 || !strings.HasPrefix(got[0], "a ") {
		t.Errorf("got %v, want a only", got)
	}
	// Without permission to list classes, the allocations of claims show which ones provide spaces.
	s = snapshotOf(claim("a", "own"), claim("b", "gpu"), withCondition(t, allocated(claim("c", "own"), "spaces"), spaceapi.ReasonProvisioned, ""), listClasses)
	if got := rows(s); len(got) != 2 || !strings.HasPrefix(got[0], "a ") || !strings.HasPrefix(got[1], "c ") {
		t.Errorf("got %v, want a and c", got)
	}
}

func TestSpaces_filtersByNamespace(t *testing.T) {
	mine, other := ready(t, "mine"), ready(t, "other")
	deprovisioned := namespace(other)
	deprovisioned.Annotations[keys.ClaimNamespace] = "elsewhere"
	if got := snapshotOf(mine, namespace(mine), deprovisioned).spaces("team"); len(got) != 1 || got[0].Space != spaceName(mine) {
		t.Errorf("got %+v, want the space of mine", got)
	}
}

func TestQuotaUsages_areSortedByUsage(t *testing.T) {
	var got []string
	for _, usage := range quotaUsages(quota("ns")) {
		got = append(got, fmt.Sprintf("%s %s/%s %d", usage.Resource, usage.Used, usage.Hard, ptr.Deref(usage.Percent, -1)))
	}
	// A limit of 0 has no percentage.
	if want := []string{"pods 3/4 75", "secrets 1/10 10", "services.loadbalancers 0/0 -1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDeprovisionedSpaces_belongToTheClaim(t *testing.T) {
	mine, other := namespace(ready(t, "mine")), namespace(ready(t, "other"))
	if got := snapshotOf(mine, other).deprovisionedSpaces("team", "mine"); len(got) != 1 || got[0].Space != mine.Name {
		t.Errorf("got %+v, want %s only", got, mine.Name)
	}
}

// found returns what the first group of an expression matches in a file, sorted.
func found(t *testing.T, file, expression string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(string(text), -1) {
		out = append(out, match[1])
	}
	slices.Sort(out)
	return out
}

func TestStates_areDocumented(t *testing.T) {
	states := slices.Sorted(slices.Values(slices.Concat(found(t, "summary.go", `(?m)^\tstate\w+ += "(\w+)"`), slices.Collect(maps.Keys(reasons)))))
	var rows []string
	for _, cell := range found(t, "../../../docs/kubectl-space.md", "(?m)^\\| ((?:`[A-Z]\\w+`(?:, )?)+) \\|") {
		rows = append(rows, strings.Split(strings.ReplaceAll(cell, "`", ""), ", ")...)
	}
	slices.Sort(rows)
	if rows = slices.DeleteFunc(rows, func(row string) bool { return row == "STATE" }); !slices.Equal(rows, states) {
		t.Errorf("docs/kubectl-space.md has the states\n%q\nand the code\n%q", rows, states)
	}
}

func TestReasons_explainEachReasonOfTheCondition(t *testing.T) {
	conditions := found(t, "../../../docs/events.md", "(?m)^\\| `(\\w+)` \\| \\w+ \\| [^|]+ \\| False")
	if len(conditions) == 0 {
		t.Error("docs/events.md has no reason of the condition")
	}
	for _, reason := range conditions {
		if reasons[reason] == "" {
			t.Errorf("there is no explanation of %s", reason)
		}
	}
}

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

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

// rows are the cells that are shown, by columns but for the names that are hashes.
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
	retained, stuck, going := ready(t, "retained"), ready(t, "stuck"), ready(t, "going")
	kept, keeps, goes := namespace(retained), namespace(stuck), namespace(going)
	kept.Annotations[keys.RetainedUntil] = "2026-03-01T13:00:00Z"
	keeps.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Hour)}
	keeps.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceFinalizersRemaining, Status: corev1.ConditionTrue, Message: "a finalizer remains"}}
	goes.DeletionTimestamp = &metav1.Time{Time: now}
	ending := claim("ending", driver)
	ending.DeletionTimestamp = &metav1.Time{Time: now}

	for name, test := range map[string]struct {
		snapshot *snapshot
		want     []string
	}{
		"ready, with all rights": {
			of(used, pod("pod", "node-b", "used"), namespace(used), quota(nameOf(used))),
			[]string{"used Ready pod node-b spaces pods 3/4 60m"},
		},
		"ready, with the right to list claims only": {
			of(used, listPods, listNamespaces, listQuotas),
			[]string{"used Ready pod <unknown> spaces <unknown> 60m"},
		},
		"not ready": {
			of(says(t, allocated(claim("refused", driver), "spaces", "pod"), spaceapi.ReasonInvalidParameters, "no")),
			[]string{"refused InvalidParameters pod <none> spaces <none> 60m"},
		},
		"not reported yet": {
			of(allocated(claim("new", driver), "spaces")),
			[]string{"new Provisioning <none> <none> spaces <none> 60m"},
		},
		"claims without an allocation": {
			of(claim("unused", driver), claim("waits", driver), ending, pod("pod", "", "waits")),
			[]string{"ending Ended <none> <none> <none> <none> 60m", "unused Unused <none> <none> <none> <none> 60m", "waits Pending pod <none> <none> <none> 60m"},
		},
		"what could not be deprovisioned": {
			of(kept, keeps, goes, event("retained", "DeprovisioningFailed", kept.Name), event("stuck", "DeprovisioningFailed", keeps.Name), event("going", "Deprovisioned", goes.Name)),
			[]string{
				"going Terminating <none> <none> <none> <none> 9m", "retained DeprovisioningFailed <none> <none> <none> <none> 9m",
				"stuck DeprovisioningFailed <none> <none> <none> <none> 9m",
			},
		},
		"what is left of spaces": {
			of(kept, keeps, goes),
			[]string{
				"going Terminating <none> <none> <none> <none> 9m", "retained Retained <none> <none> <none> <none> 9m",
				"stuck ContentRemaining <none> <none> <none> <none> 9m",
			},
		},
	} {
		if got := rows(test.snapshot); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

func TestSpaces_leavesOutClaimsForOtherDevices(t *testing.T) {
	ours := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, Spec: resourceapi.DeviceClassSpec{Selectors: []resourceapi.DeviceSelector{{
		CEL: &resourceapi.CELDeviceSelector{Expression: `device.driver == "` + driver + `"`},
	}}}}
	foreign := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}
	s := of(claim("a", "ours"), claim("b", "gpu"), ours, foreign)
	if got := rows(s); len(got) != 1 || !strings.HasPrefix(got[0], "a ") {
		t.Errorf("got %v, want a only", got)
	}
	// Users who cannot read classes know them by what others have.
	s = of(claim("a", "ours"), claim("b", "gpu"), says(t, allocated(claim("c", "ours"), "spaces"), spaceapi.ReasonProvisioned, ""), listClasses)
	if got := rows(s); len(got) != 2 || !strings.HasPrefix(got[0], "a ") || !strings.HasPrefix(got[1], "c ") {
		t.Errorf("got %v, want a and c", got)
	}
}

func TestSpaces_areOfOneNamespace(t *testing.T) {
	mine, other := ready(t, "mine"), ready(t, "other")
	rest := namespace(other)
	rest.Annotations[keys.ClaimNamespace] = "elsewhere"
	if got := of(mine, namespace(mine), rest).spaces("team"); len(got) != 1 || got[0].Space != nameOf(mine) {
		t.Errorf("got %+v, want the space of mine", got)
	}
}

func TestQuotaUsages_areSortedByUsage(t *testing.T) {
	var got []string
	for _, usage := range quotaUsages(quota("ns")) {
		got = append(got, fmt.Sprintf("%s %s/%s %d", usage.Resource, usage.Used, usage.Hard, usage.Percent))
	}
	// Nothing can be used of the last one, so it is not used up.
	if want := []string{"pods 3/4 75", "secrets 1/10 10", "services.loadbalancers 0/0 -1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFormerSpaces_areThoseOfTheClaim(t *testing.T) {
	mine, other := namespace(ready(t, "mine")), namespace(ready(t, "other"))
	if got := of(mine, other).formerSpaces("team", "mine"); len(got) != 1 || got[0].Space != mine.Name {
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

func TestStates_areOnThePage(t *testing.T) {
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

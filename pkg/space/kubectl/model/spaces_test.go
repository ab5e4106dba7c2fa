// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/pkg/space/kubectl/model"
)

// rows are the cells that are shown, by columns but for the names that are hashes.
func rows(s *model.Snapshot) []string {
	var out []string
	for _, row := range s.Table(s.Spaces(""), false, false).Rows {
		cells := append([]any{row.Cells[0]}, row.Cells[2:8]...)
		out = append(out, strings.TrimSuffix(fmt.Sprintln(cells...), "\n"))
	}
	return out
}

func TestEachSpaceIsARow(t *testing.T) {
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
		snapshot *model.Snapshot
		want     []string
	}{
		"ready, with all rights": {
			of(used, pod("pod", "node-b", "used"), namespace(used), quota(nameOf(used))),
			[]string{"used Ready pod node-b spaces pods 3/4 60m"},
		},
		"ready, for somebody who may read claims only": {
			of(used, model.ListPods, model.GetNamespaces, model.GetQuotas),
			[]string{"used Ready pod <unknown> spaces requests.cpu ?/2 60m"},
		},
		"the nodes by the namespace's record": {
			of(used, model.ListPods, namespace(used)),
			[]string{"used Ready pod node-a spaces requests.cpu ?/2 60m"},
		},
		"not ready": {
			of(says(t, allocated(claim("refused", driver), "spaces", "pod"), spaceapi.ReasonInvalidParameters, "no")),
			[]string{"refused InvalidParameters pod <none> spaces requests.cpu ?/2 60m"},
		},
		"nothing said yet": {
			of(allocated(claim("new", driver), "spaces")),
			[]string{"new Provisioning <none> <none> spaces requests.cpu ?/2 60m"},
		},
		"claims without an allocation": {
			of(claim("unused", driver), claim("waits", driver), ending, pod("pod", "", "waits")),
			[]string{"ending Ended <none> <none> <none> <none> 60m", "unused Unused <none> <none> <none> <none> 60m", "waits Pending pod <none> <none> <none> 60m"},
		},
		"what is left of spaces": {
			of(kept, keeps, goes),
			[]string{
				"going Terminating <none> <none> <none> <none> 9m", "retained Retained <none> <none> <none> <none> 9m",
				"stuck StuckTerminating <none> <none> <none> <none> 9m",
			},
		},
	} {
		if got := rows(test.snapshot); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

func TestClaimsForOtherDevicesAreNoSpaces(t *testing.T) {
	ours := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, Spec: resourceapi.DeviceClassSpec{Selectors: []resourceapi.DeviceSelector{{
		CEL: &resourceapi.CELDeviceSelector{Expression: `device.driver == "` + driver + `"`},
	}}}}
	foreign := &resourceapi.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}}
	s := of(claim("a", "ours"), claim("b", "gpu"), ours, foreign)
	if got := rows(s); len(got) != 1 || !strings.HasPrefix(got[0], "a ") {
		t.Errorf("got %v, want a only", got)
	}
	// Who may not read classes knows them by what others have.
	s = of(claim("a", "ours"), claim("b", "gpu"), says(t, allocated(claim("c", "ours"), "spaces"), spaceapi.ReasonProvisioned, ""), model.ListClasses)
	if got := rows(s); len(got) != 2 || !strings.HasPrefix(got[0], "a ") || !strings.HasPrefix(got[1], "c ") {
		t.Errorf("got %v, want a and c", got)
	}
}

func TestSpacesOfANamespaceOnly(t *testing.T) {
	mine, other := ready(t, "mine"), ready(t, "other")
	rest := namespace(other)
	rest.Annotations[keys.ClaimNamespace] = "elsewhere"
	if got := of(mine, namespace(mine), rest).Spaces("team"); len(got) != 1 || got[0].Space != nameOf(mine) {
		t.Errorf("got %+v, want the space of mine", got)
	}
}

func TestSpacesAreSorted(t *testing.T) {
	old, young := ready(t, "old"), ready(t, "young")
	young.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute))
	s := of(old, young, quota(nameOf(young)))
	for by, want := range map[string]string{"age": "young", "claim": "old", "quota": "old", ".metadata.creationTimestamp": "old", "{.metadata.name}": "old"} {
		spaces := s.Spaces("")
		slices.Reverse(spaces)
		if err := model.Sort(spaces, by); err != nil || spaces[0].Metadata.Name != want {
			t.Errorf("by %s, %s comes first, want %s; error %v", by, spaces[0].Metadata.Name, want, err)
		}
	}
	for _, by := range []string{".colour", "{"} {
		if err := model.Sort(s.Spaces(""), by); err == nil || !strings.Contains(err.Error(), by) {
			t.Errorf("by %q: error %v", by, err)
		}
	}
}

func TestDescribe(t *testing.T) {
	c := ready(t, "used", "pod")
	again := event("ResourceClaim", "used", "Repaired", "made it again")
	again.Source.Component, again.Count, again.FirstTimestamp = "controller", 3, metav1.NewTime(now.Add(-5*time.Minute))
	s := of(c, pod("pod", "node-b", "used"), namespace(c), quota(nameOf(c)), again, model.ListClasses)
	var out strings.Builder
	if err := s.Describe(&out, "team", "used"); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"Claim: used", "Allocated: 2026-03-01T11:50:00Z (10m ago)", "Pods: pod", "Nodes: node-b", "Space: " + nameOf(c), "State: Ready",
		"pods: 3 of 4", "Server: https://10.96.0.1:443", "Network: Open", "Type Reason Age From Message", "Warning Repaired 60s (x3 over 5m) controller made it again", "you may not list deviceclasses",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(text, "deviceclass.resource") {
		t.Errorf("a limit of nothing is shown:\n%s", out.String())
	}
}

func TestDescribeWhatIsLeftOfAClaim(t *testing.T) {
	c := ready(t, "gone")
	left := namespace(c)
	left.Annotations[keys.RetainedUntil] = "2026-03-01T13:00:00Z"
	var out strings.Builder
	if err := of(left).Describe(&out, "team", "gone"); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	if !strings.Contains(text, "Claim: gone") || !strings.Contains(text, "Space: "+left.Name+" State: Retained") || !strings.Contains(text, "Retained until: 2026-03-01T13:00:00Z") {
		t.Errorf("it says\n%s", out.String())
	}
}

func TestManyPodsAreShortenedUnlessAllAreAskedFor(t *testing.T) {
	s := of(ready(t, "used", "a", "b", "c", "d", "e"))
	for wide, want := range map[bool]string{false: "a,b,c + 2 more...", true: "a,b,c,d,e"} {
		if got := s.Table(s.Spaces(""), false, wide).Rows[0].Cells[3]; got != want {
			t.Errorf("wide %t: got %v, want %s", wide, got, want)
		}
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

func TestPoolTable_countsUsage(t *testing.T) {
	dedicated := slice("local/node-a", 0, 0)
	dedicated.Spec.NodeName = ptr.To("node-a")
	dedicated.Spec.Devices = []resourceapi.Device{{Name: "space-0"}, {Name: "space-1"}}
	stale := slice("spaces", 99, 99)
	stale.Spec.Pool.Generation = 0
	admin := ready(t, "admin", "p")
	admin.Status.Allocation.Devices.Results[0].AdminAccess = ptr.To(true)
	deprovisioned := namespace(ready(t, "deprovisioned"))
	deprovisioned.Annotations[keys.Pool] = "spaces"
	s := snapshotOf(slice("spaces", 3, 4), stale, dedicated, slice("open", 0, 0), ready(t, "c", "p"), admin, deprovisioned)
	table := poolTable(s.poolSummaries())
	var got []string
	for _, row := range table.Rows {
		got = append(got, strings.TrimSpace(fmt.Sprintln(row.Cells...)))
	}
	want := "local/node-a node-a spaces 0 2 2 0|open <any> spaces 0 <unlimited> <unlimited> 0|spaces <any> spaces 1 2 3 1|spaces <any> cpu 2 2 4"
	if text := strings.Join(got, "|"); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	s.forbidden = []string{listNamespaces}
	if got := poolTable(s.poolSummaries()).Rows[0].Cells[6]; got != unknown {
		t.Errorf("counted %v deprovisioned spaces without permission to list namespaces", got)
	}
}

func TestTop_printsObjectsForPrograms(t *testing.T) {
	url := serve(t, []runtime.Object{slice("limited", 3, 4), slice("unlimited", 0, 0), ready(t, "c", "p")})
	for format, want := range map[string]string{
		"name": "pool.space.resource.example.com/limited\npool.space.resource.example.com/unlimited\n",
		`jsonpath={.kind} {.items[0].resources[0]} {.items[1].resources[0]} {.items[1].deprovisioned}`: `List {"free":"3","resource":"spaces","total":"3","used":"0"} {"resource":"spaces","used":"0"} 0`,
		"custom-columns=POOL:.metadata.name,FREE:.resources[*].free":                                   "POOL        FREE\nlimited     3,4\nunlimited   <none>\n",
	} {
		if out, errOut, code := run(t, "kubectl-space", url, "top", "-n", "team", "-o", format); code != 0 || out != want {
			t.Errorf("-o %s: exit code %d, output\n%s%s, want\n%s", format, code, out, errOut, want)
		}
	}
	if out, _, code := run(t, "kubectl-space", url, "top", "--no-headers"); code != 0 || !strings.HasPrefix(out, "limited ") {
		t.Errorf("exit code %d, output\n%s", code, out)
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package knownissues

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestWarning_isAboutReleasesWithTheIssue(t *testing.T) {
	for _, test := range []struct{ component, version, want string }{
		{ControlPlane, "v1.34.1", "Kubernetes v1.34.1 of the control plane has known issues: " + mixedClasses + "; " + sameDevice + ". Upgrade to 1.34.4 or later"},
		{ControlPlane, "v1.34.3-gke.1318000", "Kubernetes v1.34.3-gke.1318000 of the control plane has known issues: " + sameDevice + ". Upgrade to 1.34.4 or later"},
		{ControlPlane, "v1.34.4", ""},
		{ControlPlane, "v1.35.0+k3s1", "Kubernetes v1.35.0+k3s1 of the control plane has known issues: " + sameDevice + ". Upgrade to 1.35.1 or later"},
		{ControlPlane, "v1.35.1", ""},
		{ControlPlane, "v1.38.0-beta.0", ""},
		{ControlPlane, "unknown", ""},
		{ControlPlane, "", ""},
		{Kubelet, "v1.34.0", "Kubernetes v1.34.0 of the kubelet has known issues: " + idleConnection + "; " + skippedClaim + ". Upgrade to 1.34.4 or later"},
		{Kubelet, "v1.34.2", "Kubernetes v1.34.2 of the kubelet has known issues: " + skippedClaim + ". Upgrade to 1.34.4 or later"},
		{Kubelet, "v1.34.10", ""},
		{Kubelet, "v1.35.0", "Kubernetes v1.35.0 of the kubelet has known issues: " + skippedClaim + ". Upgrade to 1.35.1 or later"},
		{Kubelet, "v1.36.0", ""},
	} {
		if got := Warning(test.component, test.version); got != test.want {
			t.Errorf("%s %s: got\n%s, want\n%s", test.component, test.version, got, test.want)
		}
	}
}

// The page has the same table.
func TestIssues_areDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	fixed := map[string][]string{}
	for _, issue := range issues {
		row := fmt.Sprintf("| %s | %s |", issue.effect, issue.component)
		fixed[row] = append(fixed[row], issue.fixed)
	}
	for row, releases := range fixed {
		if row += " " + strings.Join(releases, ", ") + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/compatibility.md lacks the row %s", row)
		}
	}
}

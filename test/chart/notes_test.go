// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/pkg/space/knownissues"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// helm template does not print the notes, so that the test adds an object with them to a copy of the chart.
func TestNotes_warnOfKnownIssues(t *testing.T) {
	t.Parallel()
	chart := t.TempDir()
	if err := os.CopyFS(chart, os.DirFS(directory())); err != nil {
		t.Fatal(err)
	}
	object := `{"kind": "Notes", "notes": {{ include "space-dra-driver/templates/NOTES.txt" . | toJson }}}`
	if err := os.WriteFile(filepath.Join(chart, "templates", "notes.yaml"), []byte(object), 0o600); err != nil {
		t.Fatal(err)
	}
	for version, warns := range map[string]bool{
		"v1.34.2": true, "v1.34.3-gke.1318000": true, "v1.34.4": false, "v1.34.4-gke.1000": false, "v1.34.10": false,
		"v1.35.0": true, "v1.35.0-gke.1000": true, "v1.35.1": false, "v1.36.0": false, "v1.38.0-beta.0": false,
	} {
		out, err := exec.CommandContext(t.Context(), framework.Binary("helm"), "template", release, chart, "--show-only=templates/notes.yaml", "--kube-version="+version).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", version, err, out)
		}
		known := knownissues.Warning(knownissues.ControlPlane, version)+knownissues.Warning(knownissues.Kubelet, version) != ""
		if got := strings.Contains(string(out), "Warning: Kubernetes "+version+" has known issues"); got != warns || known != warns {
			t.Errorf("%s: the notes warn: %t, package knownissues warns: %t, want %t", version, got, known, warns)
		}
	}
	if out, err := exec.CommandContext(t.Context(), framework.Binary("helm"), "template", release, chart, "--kube-version=v1.34.1").CombinedOutput(); err == nil || !strings.Contains(string(out), "incompatible with Kubernetes v1.34.1") {
		t.Errorf("v1.34.1: got error %v and %s", err, out)
	}
}

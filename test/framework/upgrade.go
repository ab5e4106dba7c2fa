// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// MakeVersion builds the driver's image once more as another version, such as
// 0.2.0, loads it, and returns the path of a chart of that version.
func (e *Env) MakeVersion(t testing.TB, version string) string {
	t.Helper()
	dir := t.TempDir()
	if err := e.loadImages(t.Context(), dir, "v"+version, "driver"); err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(filepath.Dir(cluster.DefaultConfig().BuildDir), "deployments/helm/space-dra-driver")
	out, err := e.Tool(t.Context(), "helm", "package", "--version="+version, "--app-version=v"+version, "--destination="+dir, chart)
	if err != nil {
		t.Fatalf("package the chart as version %s: %v: %s", version, err, out)
	}
	return filepath.Join(dir, "space-dra-driver-"+version+".tgz")
}

// RunsVersion fails the test unless all of the driver's pods are of the version, such as
// v0.2.0, by their image and by what they say themselves.
func (e *Env) RunsVersion(t testing.TB, version string) {
	t.Helper()
	for _, selector := range []string{ControllerPods, PluginPods} {
		pods, err := e.DriverPods(t.Context(), selector)
		if err != nil || len(pods) == 0 {
			t.Fatalf("there are %d pods with %s, error %v", len(pods), selector, err)
		}
		for _, pod := range pods {
			if image := pod.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+version) {
				t.Errorf("pod %s has the image %s, want version %s", pod.Name, image, version)
			}
			if log := e.Kubectl(t, "logs", "-n", DriverNamespace, pod.Name); !strings.Contains(log, `version="`+version+`"`) {
				t.Errorf("pod %s does not say that it is version %s: %.200s", pod.Name, version, log)
			}
		}
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestProfilesAreOffUnlessAskedForAndOnNoPort(t *testing.T) {
	containers := func(v values) []corev1.Container {
		return append(slices.Clone(controllerOf(t, v).Spec.Template.Spec.Containers), pluginOf(t, v).Spec.Template.Spec.Containers...)
	}
	for _, c := range containers(nil) {
		if strings.Contains(strings.Join(c.Args, " "), "pprof") {
			t.Errorf("%s: profiles are on by default: %q", c.Name, c.Args)
		}
	}
	for _, c := range containers(at("metrics.pprof", true)) {
		if !slices.Contains(c.Args, "--pprof-address=127.0.0.1:6060") {
			t.Errorf("%s: profiles are not on, or not only for the pod itself: %q", c.Name, c.Args)
		}
		if len(c.Ports) != 1 {
			t.Errorf("%s: has ports %v, want one", c.Name, c.Ports)
		}
	}
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"
)

// AtLeast reports whether the cluster runs a version of Kubernetes, such as 1.36, or a later one.
func (e *Env) AtLeast(minimum string) bool {
	return e.version.AtLeast(version.MustParseGeneric(minimum))
}

// Requires skips a test if the version of Kubernetes lacks a feature by default. Without the variable
// K8S, which selects an older version, it fails the test instead.
func (e *Env) Requires(t testing.TB, minimum, feature string) {
	t.Helper()
	if e.AtLeast(minimum) {
		return
	}
	skip := t.Skipf
	if os.Getenv("K8S") == "" {
		skip = t.Fatalf
	}
	skip("%s needs Kubernetes %s", feature, minimum)
}

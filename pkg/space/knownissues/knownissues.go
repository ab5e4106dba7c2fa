// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package knownissues has bugs of Kubernetes that affect spaces and that a later patch release fixes.
package knownissues

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/klog/v2"
)

// Components of Kubernetes.
const (
	ControlPlane = "control plane"
	Kubelet      = "kubelet"
)

const (
	sameDevice     = "two claims can be allocated the same exclusive device, so that a pool has more spaces than its limit"
	skippedClaim   = "a pod with several claims cannot start if another pod on the node uses one of them"
	idleConnection = "pods with claims neither start nor terminate on a node where none did so for 30 minutes, until the kubelet restarts"
	mixedClasses   = "parameters of a DeviceClass apply to all spaces of a claim, also to those of other classes"
)

// issues are in the order of the table in docs/compatibility.md. All patch releases of a minor version
// before fixed have the issue.
var issues = []struct{ component, fixed, effect string }{
	{ControlPlane, "1.34.2", mixedClasses},
	{Kubelet, "1.34.2", idleConnection},
	{ControlPlane, "1.34.4", sameDevice},
	{ControlPlane, "1.35.1", sameDevice},
	{Kubelet, "1.34.4", skippedClaim},
	{Kubelet, "1.35.1", skippedClaim},
}

// Warning returns a sentence about the issues of a component with a version such as v1.34.1, or "" if
// it has none.
func Warning(component, current string) string {
	v, err := version.ParseGeneric(current)
	if err != nil {
		return ""
	}
	var effects []string
	var upgrade *version.Version
	for _, issue := range issues {
		fixed := version.MustParseGeneric(issue.fixed)
		if issue.component != component || v.Minor() != fixed.Minor() || v.AtLeast(fixed) {
			continue
		}
		effects = append(effects, issue.effect)
		if upgrade == nil || upgrade.LessThan(fixed) {
			upgrade = fixed
		}
	}
	if len(effects) == 0 {
		return ""
	}
	return fmt.Sprintf("Kubernetes %s of the %s has known issues: %s. Upgrade to %s or later", current, component, strings.Join(effects, "; "), upgrade)
}

// Log logs the warning about a component, if there is one.
func Log(ctx context.Context, component, current string) {
	if warning := Warning(component, current); warning != "" {
		klog.FromContext(ctx).Info("Upgrade Kubernetes", "warning", warning)
	}
}

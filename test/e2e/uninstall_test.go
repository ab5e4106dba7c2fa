// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestUninstall_failsWhileSpacesExist(t *testing.T) {
	t.Parallel()
	const release, driver = "inuse", "inuse.space.example.com"
	env.InstallAnotherRelease(t, release, "driverName="+driver, "controller.replicas=1", "networkPolicy.enabled=true")
	ns := env.Namespace(t)
	s := env.Use(t, ns, claimOf("claim", driver), framework.NewPod("pod", "claim"))

	out, err := env.Tool(t.Context(), "helm", "uninstall", "--wait", "--namespace", release, release)
	for _, want := range []string{"ResourceClaim " + ns + "/claim with namespaces " + s.Namespace + " and pods pod", "--no-hooks"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("error %v, output %s, want %s", err, out, want)
		}
	}
	if objects := env.Kubectl(t, "get", "clusterroles,clusterrolebindings,serviceaccounts", "-A", "-o", "name"); strings.Contains(objects, release+"-space-dra-driver-uninstall") {
		t.Errorf("the permissions of the check still exist: %s", objects)
	}
	// The driver still works, and the release can be upgraded after a rollback, as docs/upgrade.md describes.
	s.CheckUsable(t, ns, "pod")
	env.Helm(t, "rollback", "--namespace", release, release, "1")
	env.Helm(t, "upgrade", "--reset-then-reuse-values", "--namespace", release, release, framework.Chart())

	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceDeleted(t, s.Namespace)
	env.Helm(t, "uninstall", "--wait", "--namespace", release, release)
}

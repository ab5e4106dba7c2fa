// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestUninstall_isRefusedWhileThereAreSpaces(t *testing.T) {
	t.Parallel()
	const release, driver = "inuse", "inuse.space.example.com"
	env.InstallAnother(t, release, "driverName="+driver, "controller.replicas=1", "networkPolicy.enabled=true")
	ns := env.Namespace(t)
	s := env.Use(t, ns, claimOf("claim", driver), framework.NewPod("pod", "claim"))

	out, err := env.Tool(t.Context(), "helm", "uninstall", "--wait", "--namespace", release, release)
	for _, want := range []string{"ResourceClaim " + ns + "/claim with namespaces " + s.Namespace + " and pods pod", "--no-hooks"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("error %v, output %s, want %s", err, out, want)
		}
	}
	if rights := env.Kubectl(t, "get", "clusterroles,clusterrolebindings,serviceaccounts", "-A", "-o", "name"); strings.Contains(rights, release+"-space-dra-driver-uninstall") {
		t.Errorf("the rights of the check are left: %s", rights)
	}
	// The driver still works, and as docs/upgrade.md says, the release can be changed after a rollback.
	s.Usable(t, ns, "pod")
	env.Helm(t, "rollback", "--namespace", release, release, "1")
	env.Helm(t, "upgrade", "--reset-then-reuse-values", "--namespace", release, release, framework.Chart())

	env.DeletePod(t, ns, "pod")
	env.AwaitNamespaceGone(t, s.Namespace)
	env.Helm(t, "uninstall", "--wait", "--namespace", release, release)
}

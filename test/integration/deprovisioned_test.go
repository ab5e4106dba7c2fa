// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	"k8s.io/utils/ptr"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestStuckNamespace_isDeletedWithItsLastPod deletes a pod with a long grace period by force.
// kube-controller-manager alone would look at its namespace again after half of that period.
func TestStuckNamespace_isDeletedWithItsLastPod(t *testing.T) {
	const driver, node, year = "stuck.example.com", "stuck", 365 * 24 * 3600
	ns := env.Namespace(t)
	install(t, driver, "--stuck-terminating-after=20s").start(t)
	newNode(t, env, node, nil)
	space := provision(t, driver, ns, "claim")
	pod := framework.NewPod("slow")
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](year)
	bind(t, createPod(t, space, pod), node)
	deallocate(t, env, ns, "claim")
	// By now, kube-controller-manager has looked at the namespace and does not change it any more.
	awaitEvent(t, ns, "ResourceClaim", "claim", spaceapi.ReasonStuckTerminating, space)
	if err := env.ForceDelete(t.Context(), space, pod.Name); err != nil {
		t.Fatal(err)
	}
	env.AwaitNamespaceGone(t, space)
}

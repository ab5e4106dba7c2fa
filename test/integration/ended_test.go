// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestEvents_reportWhyASpaceEnded(t *testing.T) {
	const driver = "ended.example.com"
	i := install(t, driver)
	i.start(t)
	ns := env.Namespace(t)
	for claim, want := range map[string]struct {
		end   func()
		words string
	}{
		"deallocated": {func() { deallocate(t, env, ns, "deallocated") }, "no pod uses it any more"},
		"deleted": {func() {
			framework.SetFinalizers(t, env.Client.ResourceV1().RESTClient(), "resourceclaims", ns, "deleted")
			env.Kubectl(t, "delete", "resourceclaim", "deleted", "-n", ns)
		}, "Claim deleted: "},
	} {
		provision(t, driver, ns, claim)
		want.end()
		awaitEvent(t, ns, "ResourceClaim", claim, spaceapi.ReasonDeprovisioned, want.words)
	}
}

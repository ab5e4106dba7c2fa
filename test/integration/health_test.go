// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"testing"

	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The API server goes and comes. The controller says so, and is not to be started
// again because of it.
func TestTheControllersHealthSaysWhetherItKnowsTheCluster(t *testing.T) {
	t.Parallel()
	address := framework.FreeAddress(t)
	ask := framework.Plainly(address)
	i := install(t, "health.example.com", "--http-address="+address, "--unready-after=1s")
	away := func(faults.Call, func()) faults.Answer { return faults.Broken }

	i.proxy.Intercept(away)
	i.start(t)
	ask.Await(t, "/healthz", http.StatusOK)
	ask.Await(t, "/readyz", http.StatusServiceUnavailable, "the cluster's state is not read yet")
	i.proxy.Intercept(nil)
	ask.Await(t, "/readyz", http.StatusOK)

	i.proxy.Intercept(away)
	i.proxy.Cut()
	ask.Await(t, "/readyz", http.StatusServiceUnavailable, "read in vain", "resourceclaims for", "serviceaccounts with metadata.name=space")
	ask.Await(t, "/healthz", http.StatusOK)
	i.proxy.Intercept(nil)
	ask.Await(t, "/readyz", http.StatusOK)
}

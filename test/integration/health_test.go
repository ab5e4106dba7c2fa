// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"testing"

	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The controller is ready when its caches are in sync. An API server that is away is no
// reason to restart it.
func TestControllerHealth_isReadyWithItsCachesInSync(t *testing.T) {
	t.Parallel()
	address := framework.FreeAddress(t)
	ask := framework.Plainly(address)
	i := install(t, "health.example.com", "--health-probe-bind-address="+address)
	away := func(faults.Call, func()) faults.Answer { return faults.Broken }

	i.proxy.Intercept(away)
	i.start(t)
	ask.Await(t, "/healthz", http.StatusOK)
	ask.Await(t, "/readyz", http.StatusInternalServerError, "[-]caches failed")
	i.proxy.Intercept(nil)
	ask.Await(t, "/readyz", http.StatusOK)

	i.proxy.Intercept(away)
	i.proxy.Cut()
	ask.Await(t, "/healthz", http.StatusOK)
	i.proxy.Intercept(nil)
	ask.Await(t, "/readyz", http.StatusOK)
}

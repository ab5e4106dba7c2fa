// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The controller is ready when its caches are in sync. If the API server is unavailable, a restart
// of the controller would not help: its liveness probe succeeds.
func TestControllerHealth_isReadyWithItsCachesInSync(t *testing.T) {
	t.Parallel()
	address := framework.FreeAddress(t)
	ask := framework.PlainHTTP(address)
	i := install(t, "health.example.com", "--health-probe-bind-address="+address)
	unavailable := func(faults.Call, func()) faults.Answer { return faults.Broken }

	i.proxy.Intercept(unavailable)
	i.start(t)
	ask.Await(t, "/healthz", http.StatusOK)
	ask.Await(t, "/readyz", http.StatusInternalServerError, "[-]caches failed")
	i.proxy.Intercept(nil)
	ask.Await(t, "/readyz", http.StatusOK)

	i.proxy.Intercept(unavailable)
	i.proxy.CloseConnections()
	ask.Await(t, "/healthz", http.StatusOK)
	i.proxy.Intercept(nil)
	ask.Await(t, "/readyz", http.StatusOK)
}

func TestController_reportsAnUnreachableAPIServer(t *testing.T) {
	t.Parallel()
	i := install(t, "unreachable.example.com", "--startup-timeout=3s")
	i.proxy.Close(t)
	i.start(t)
	if err := i.controller.Wait(); err == nil {
		t.Error("the controller exits without an error")
	}
	if log := i.controller.Log.String(); !strings.Contains(log, "http://127.0.0.1:") || !strings.Contains(log, "connection refused") {
		t.Errorf("the log lacks the address, or the error: %s", log)
	}
}

// TestController_stopsCleanlyDuringStartup stops the controller before its caches are in sync, as a
// rolling update can. With exit code 1, that would look like a crash.
func TestController_stopsCleanlyDuringStartup(t *testing.T) {
	for resource, what := range map[string]string{
		"resourceclaims": "reads the claims",
		"resourceslices": "reads the ResourceSlices",
	} {
		t.Run(what, func(t *testing.T) {
			i := install(t, "stops-"+resource+".example.com")
			requested, release := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(release) })
			var once sync.Once
			i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
				if call.Resource == resource {
					once.Do(func() { close(requested) })
					<-release
				}
				return faults.Forwarded
			})
			i.start(t)
			await(t, "the controller "+what, requested)
			i.controller.Stop(t, syscall.SIGTERM)
		})
	}
}

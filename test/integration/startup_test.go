// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/faults"
)

func TestController_reportsAnUnreachableAPIServer(t *testing.T) {
	t.Parallel()
	i := install(t, "unreachable.example.com", "--startup-timeout=3s")
	i.proxy.Close(t)
	i.start(t)
	if err := i.controller.Wait(); err == nil {
		t.Error("the controller ended without an error")
	}
	if log := i.controller.Log.String(); !strings.Contains(log, "http://127.0.0.1:") || !strings.Contains(log, "connection refused") {
		t.Errorf("the log does not say what is unreachable: %s", log)
	}
}

// A rolling update may come at any time, and exit code 1 would look like a crash.
func TestController_stopsCleanlyDuringStartup(t *testing.T) {
	for resource, what := range map[string]string{
		"resourceclaims": "reads the claims",
		"resourceslices": "reads the ResourceSlices",
	} {
		t.Run(what, func(t *testing.T) {
			i := install(t, "ends-"+resource+".example.com")
			asked, release := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(release) })
			var once sync.Once
			i.proxy.Intercept(func(call faults.Call, _ func()) faults.Answer {
				if call.Resource == resource {
					once.Do(func() { close(asked) })
					<-release
				}
				return faults.Real
			})
			i.start(t)
			await(t, "the controller "+what, asked)
			i.controller.Stop(t, syscall.SIGTERM)
		})
	}
}

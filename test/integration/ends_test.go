// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"sync"
	"syscall"
	"testing"

	"github.com/space-dra/space-dra-driver/test/faults"
)

// A rolling update may come at any time, and exit code 1 would look like a crash.
func TestAControllerToldToEndWhileItStartsEndsWithoutAnError(t *testing.T) {
	for resource, what := range map[string]string{
		"resourceclaims": "reads the claims",
		"resourceslices": "reads the ResourceSlices",
	} {
		t.Run("while it "+what, func(t *testing.T) {
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

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/soak"
)

// The short form of `make soak`, which runs for as long as one likes.
func TestChurnLeavesNothingAndStandingPodsGoOnWorking(t *testing.T) {
	seed, err := soak.Seed()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("SPACE_TEST_SEED=%d", seed)
	report, err := soak.Run(t.Context(), soak.Config{
		Env: env, Seed: seed,
		// With three claims each.
		Pods: 100, Clients: soak.DefaultClients, Standing: soak.DefaultStanding, Log: t.Logf,
	})
	report.Print(t.Logf)
	if err != nil {
		t.Errorf("with SPACE_TEST_SEED=%d: %v", seed, err)
	}
	env.AwaitHealthy(t)
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package churn lets pods come and go on a cluster of its own while parts of it are
// killed.
package churn

import (
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/test/soak"
)

// env is the cluster of this test run; TestMain sets it.
var env *framework.Env

func TestMain(m *testing.M) { framework.Suite{Cluster: "space-churn"}.Run(m, &env) }

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

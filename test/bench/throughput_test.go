// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// beforeDriver is the driver name of the earlier commit.
const beforeDriver = "before.space.resource.example.com"

// BenchmarkThroughput compares how many spaces per second the controller and the baseline provision, for
// claims that are created at the same rate.
func BenchmarkThroughput(b *testing.B) {
	r := startReport(b, "throughput")
	env := controlPlane(b)
	startBuild(b, env, framework.Binary("space-controller"), spaceapi.DefaultDriverName)
	spaces := claims{env: env, driver: spaceapi.DefaultDriverName}
	_, sample := spaces.ready(b, "sample", 1, ignored)
	loop := baselineOf(b, env, sample[0])
	kinds := []struct {
		name  string
		round func(prefix string) []float64
	}{
		{baselineName, func(prefix string) []float64 { return baselineRound(b, env, loop, prefix) }},
		{"spaces", func(prefix string) []float64 {
			seconds, _ := spaces.ready(b, prefix, *flags.spaces, ignored)
			return seconds
		}},
	}
	if *flags.before != "" {
		startBuild(b, env, filepath.Join(*flags.before, "build/bin/space-controller"), beforeDriver)
		kinds = append(kinds, kinds[1])
		kinds[2].name = "spaces, before"
		kinds[2].round = func(prefix string) []float64 {
			seconds, _ := claims{env: env, driver: beforeDriver}.ready(b, prefix, *flags.spaces, ignored)
			return seconds
		}
	}
	const rates, ratios = "spaces per second (1/s)", "to the baseline, round by round (ratio)"
	inTurns(*flags.rounds, len(kinds), func(round, i int) {
		rate := float64(*flags.spaces) / slices.Max(kinds[i].round(fmt.Sprintf("t%d-%d", round, i)))
		b.Logf("round %d, %s: %.1f/s", round, kinds[i].name, rate)
		if round > 0 {
			r.add(rates, kinds[i].name, rate)
		}
	})
	for _, kind := range kinds[1:] {
		r.addRatios(ratios, rates, kind.name, baselineName)
	}
	r.atLeast("spaces per second, ratio to the baseline", 0.9, r.median(ratios, "spaces"))
}

// startBuild starts a controller with flags that all commits have.
func startBuild(b *testing.B, env *framework.Env, path, driver string) {
	b.Helper()
	start(b, path, "--kubeconfig="+env.Cluster.Kubeconfig(), "--driver-name="+driver, "--leader-elect=false")
}

// baselineRound creates claims of another driver, which as many workers as the controller has handle.
func baselineRound(b *testing.B, env *framework.Env, loop *baseline, prefix string) []float64 {
	b.Helper()
	workers := make(chan struct{}, parallel)
	var serving sync.WaitGroup
	seconds, _ := claims{env: env, driver: baselineDriver}.ready(b, prefix, *flags.spaces, func(claim *resourceapi.ResourceClaim) {
		serving.Go(func() {
			workers <- struct{}{}
			if err := loop.serve(b.Context(), claim); err != nil {
				b.Error(err)
			}
			<-workers
		})
	})
	serving.Wait()
	return seconds
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"

	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Throughput compares how many spaces the controller provisions in a second with how many
// copies of one a loop writes for claims that come as fast.
func Throughput(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "throughput", Title: "Spaces until Ready, against a bare loop that writes the same objects", Machine: report.ThisMachine()}
	return r, s.onControlPlane(ctx, nil, func(env *framework.Env) error {
		return withController(env, func() error {
			_, all, err := claims{env.Client, s.Parallel, spaceapi.DefaultDriverName}.ready(ctx, "sample", 1, func(*resourceapi.ResourceClaim) {})
			if err != nil {
				return err
			}
			loop, err := copyOf(ctx, env, all[0])
			if err != nil {
				return err
			}
			r.Notes = append(r.Notes, fmt.Sprintf("%d spaces in each round, %d at the same time; the bare loop writes a namespace, %d objects in it, and the claim's status.", s.Spaces, s.Parallel, len(loop.contents)))
			return s.throughput(ctx, env, loop, r)
		}, fmt.Sprintf("--concurrent-claim-syncs=%d", s.Parallel))
	})
}

func (s Settings) throughput(ctx context.Context, env *framework.Env, loop *bare, r *report.Report) error {
	sorts := []struct {
		name  string
		round func(prefix string) ([]float64, error)
	}{
		{"bare loop", func(prefix string) ([]float64, error) { return s.bareRound(ctx, env, loop, prefix) }},
		{"spaces", func(prefix string) ([]float64, error) {
			seconds, _, err := claims{env.Client, s.Parallel, spaceapi.DefaultDriverName}.ready(ctx, prefix, s.Spaces, func(*resourceapi.ResourceClaim) {})
			return seconds, err
		}},
	}
	rates := make([][]float64, len(sorts))
	for round := range s.Rounds + 1 {
		for i := range sorts {
			// The first has the emptier cluster.
			i = (i + round) % len(sorts)
			seconds, err := sorts[i].round(fmt.Sprintf("t%d-%d", round, i))
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", sorts[i].name, round, err)
			}
			rate := float64(len(seconds)) / slices.Max(seconds)
			s.logf("round %d, %s: %.1f/s", round, sorts[i].name, rate)
			if round > 0 {
				rates[i] = append(rates[i], rate)
			}
		}
	}
	ratios := report.Ratios(rates[1], rates[0])
	r.Tables = append(r.Tables,
		report.NewTable("throughput", "1/s", report.Series{Name: sorts[0].name, Values: rates[0]}, report.Series{Name: sorts[1].name, Values: rates[1]}),
		report.NewTable("round by round", "ratio", report.Series{Name: "spaces to bare loop", Values: ratios}))
	r.Goals = append(r.Goals, report.AtLeast("throughput against the bare loop", 0.9, report.Summarize(ratios).Median))
	return nil
}

// bareRound makes the same claims of another driver, and has the bare loop serve them.
func (s Settings) bareRound(ctx context.Context, env *framework.Env, loop *bare, prefix string) ([]float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waiting := make(chan *resourceapi.ResourceClaim, s.Spaces)
	var workers sync.WaitGroup
	for range s.Parallel {
		workers.Go(func() {
			for claim := range waiting {
				if err := loop.serve(ctx, claim); err != nil {
					cancel(err)
				}
			}
		})
	}
	seconds, _, err := claims{env.Client, s.Parallel, bareDriver}.ready(ctx, prefix, s.Spaces, func(claim *resourceapi.ResourceClaim) { waiting <- claim })
	close(waiting)
	workers.Wait()
	// A worker that failed is the cause of the end of the wait for claims.
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return seconds, err
}

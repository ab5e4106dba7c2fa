// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/faults"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// counted is how many spaces are made to count what the controller asks for.
const counted = 20

// Throughput compares how many spaces the controller makes in a second with how many
// a loop makes that writes the same objects for claims that come as fast, and counts
// the controller's calls.
func Throughput(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "throughput", Title: "Spaces until Ready, against a bare loop that writes the same objects", Machine: report.ThisMachine()}
	return r, s.onControlPlane(ctx, nil, func(env *framework.Env) error {
		sample, calls, err := countCalls(ctx, env, s)
		if err != nil {
			return err
		}
		reads := 0
		for _, call := range slices.Sorted(maps.Keys(calls)) {
			r.Counts = append(r.Counts, report.Count{What: "calls per space: " + call, N: float64(calls[call]) / counted})
			if strings.HasPrefix(call, "get ") || strings.HasPrefix(call, "list ") {
				reads += calls[call]
			}
		}
		r.Goals = append(r.Goals, report.AtMost("reads per space", 0, float64(reads)/counted))
		loop, err := copyOf(ctx, env.Client, sample)
		if err != nil {
			return err
		}
		r.Notes = append(r.Notes, fmt.Sprintf("%d spaces in each round, %d at the same time; the bare loop writes a namespace, %d objects in it (of a quota also the status), and the claim's status.", s.Spaces, s.Parallel, len(loop.contents)))
		return withController(env, func() error { return s.throughput(ctx, env, loop, r) }, fmt.Sprintf("--concurrent-claim-syncs=%d", s.Parallel))
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
			// Who begins has the emptier cluster.
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

// bareRound has the same claims made for nobody, and serves them.
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
	// What ended the wait for claims is the cause, if a worker failed.
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return seconds, err
}

// countCalls makes some spaces through a proxy that counts.
func countCalls(ctx context.Context, env *framework.Env, s Settings) (sample *resourceapi.ResourceClaim, calls map[string]int, err error) {
	config, err := env.Cluster.RESTConfig()
	if err != nil {
		return nil, nil, err
	}
	proxy, err := faults.New(config)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, proxy.Close()) }()
	dir, err := os.MkdirTemp("", "space-bench-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := proxy.WriteKubeconfig(kubeconfig); err != nil {
		return nil, nil, err
	}
	t := &tally{counts: map[string]int{}}
	proxy.Intercept(t.intercept)
	err = withController(env, func() error {
		make := claims{env.Client, s.Parallel, spaceapi.DefaultDriverName}
		// The first may meet a controller that is only just starting.
		if _, _, err := make.ready(ctx, "warm", 1, func(*resourceapi.ResourceClaim) {}); err != nil {
			return err
		}
		if err := t.await(ctx, 1); err != nil {
			return err
		}
		t.reset()
		_, all, err := make.ready(ctx, "counted", counted, func(*resourceapi.ResourceClaim) {})
		if err != nil {
			return err
		}
		sample = all[0]
		return t.await(ctx, counted)
	}, "--kubeconfig="+kubeconfig)
	return sample, t.reset(), err
}

// tally counts calls.
type tally struct {
	mutex  sync.Mutex
	counts map[string]int
}

func (t *tally) intercept(call faults.Call, _ func()) faults.Answer {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if call.Resource == "" || call.Resource == "leases" || call.Resource == "resourceslices" || call.Verb == "watch" {
		return faults.Real
	}
	if call.Subresource != "" {
		call.Resource += "/" + call.Subresource
	}
	t.counts[call.Verb+" "+call.Resource]++
	return faults.Real
}

func (t *tally) reset() map[string]int {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	before := t.counts
	t.counts = map[string]int{}
	return before
}

// await waits for the events of spaces, which are written after all else.
func (t *tally) await(ctx context.Context, n int) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		return t.counts["create events"] >= n, nil
	})
}

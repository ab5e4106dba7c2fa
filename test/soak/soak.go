// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package soak lets pods with spaces come and go while parts of the cluster are
// killed, and then looks at what is left, and at what a few pods that stayed have
// seen of it.
package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// template is the name of the claims' template, and what pods call their claim.
const template = "my-space"

// Config says how long and how hard.
type Config struct {
	Env *framework.Env
	// Seed decides what comes when. It can't decide how the cluster interleaves it.
	Seed uint64
	// Pods is how many pods, of three claims each, come and go, Duration for how long more of them come.
	// One that is 0 is no limit; at least one has to be given.
	Pods     int
	Duration time.Duration
	// Clients create and delete pods, each one at a time.
	Clients int
	// Standing is how many pods stay all the time and use their credentials.
	Standing int
	// Log is told about progress.
	Log func(format string, args ...any)
}

// Report is what happened.
type Report struct {
	// Pods came and went; GaveUp is how many of them were deleted because they took long.
	Pods, GaveUp int
	// Kills are by what was killed.
	Kills   map[string]int
	Outages []Outage
	// Seen is what each standing pod has seen.
	Seen []Verdict
}

// Run lets pods come and go, and kills. An error says what was not as it should be.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Pods <= 0 && cfg.Duration <= 0 {
		return Report{}, errors.New("neither a number of pods nor a duration is given: it would never end")
	}
	ns, err := cfg.Env.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "soak-"}}, metav1.CreateOptions{})
	if err != nil {
		return Report{}, fmt.Errorf("make a namespace for the pods: %w", err)
	}
	r := &run{Config: cfg, namespace: ns.Name, report: Report{Kills: map[string]int{}}}
	err = r.all(ctx)
	// The namespace stays when something is wrong, for people to look at.
	if err == nil {
		err = cfg.Env.Client.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{})
	}
	return r.report, err
}

// run is one run. The report's fields are written by one goroutine each, and read
// when all have ended.
type run struct {
	Config
	namespace string
	standing  []standingPod
	started   atomic.Int64
	gaveUp    atomic.Int64
	report    Report
}

func (r *run) all(ctx context.Context) error {
	if _, err := r.Env.Client.ResourceV1().ResourceClaimTemplates(r.namespace).Create(ctx, framework.NewTemplate(template), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make a template: %w", err)
	}
	if err := r.startStanding(ctx); err != nil {
		return err
	}
	churned := r.churn(ctx)
	r.Log("%d pods with %d claims have come and gone; killed: %v", r.report.Pods, claimsPerPod*r.report.Pods, r.report.Kills)
	if err := errors.Join(churned, ctx.Err()); err != nil {
		return err
	}
	standing := r.untilNothingIsLeft(ctx, r.standing)
	seen := r.readStanding(ctx)
	return errors.Join(standing, seen, r.stopStanding(ctx), r.untilNothingIsLeft(ctx, nil))
}

// churn runs the clients, and kills things for as long as more pods come.
func (r *run) churn(ctx context.Context) error {
	var deadline time.Time
	if r.Duration > 0 {
		deadline = time.Now().Add(r.Duration)
	}
	// The first error ends it all.
	group, ctx := errgroup.WithContext(ctx)
	breaking, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() error { return r.breakThings(breaking, r.random(0)) })
	for i := range r.Clients {
		rng := r.random(uint64(i) + 1)
		group.Go(func() error {
			defer stop() // the pods that are left have to come to an end
			for ctx.Err() == nil && (deadline.IsZero() || time.Now().Before(deadline)) {
				number := r.started.Add(1)
				if r.Pods > 0 && number > int64(r.Pods) {
					return nil
				}
				if number%50 == 0 {
					r.Log("pod %d begins", number)
				}
				if err := r.live(ctx, rng, fmt.Sprintf("pod-%05d", number)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	r.report.Pods, r.report.GaveUp = int(r.started.Load()), int(r.gaveUp.Load())
	if r.Pods > 0 {
		r.report.Pods = min(r.report.Pods, r.Pods)
	}
	return err
}

// random is a source of its own for each goroutine, so that what one does draws
// nothing from what is another's.
func (r *run) random(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(r.Seed, stream)) //nolint:gosec // it has to be repeatable
}

// pause lets time pass, unless the context ends before. It gives the churn its
// pace; nothing is awaited with it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// between is a random time.
func between(rng *rand.Rand, shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(rng.Int64N(int64(longest-shortest)+1))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// otherDriver is a driver whose claims the controller must ignore.
const otherDriver = "other.resource.example.com"

// chunk is how many spaces are created before waiting for them: the wait has a timeout.
const chunk = 500

// Growth measures freshly started controllers with ever more standing spaces, and at the end
// also with many claims of another driver.
func Growth(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "growth", Title: "The controller, with standing spaces", Machine: report.ThisMachine()}
	return r, s.onControlPlane(ctx, nil, func(env *framework.Env) (err error) {
		g := &growth{Settings: s, env: env, builds: []build{{path: framework.Binary("space-controller")}}}
		if s.Before != "" {
			g.builds = append(g.builds, build{path: filepath.Join(s.Before, "space-controller"), suffix: ", before"})
		}
		defer func() { err = errors.Join(err, g.stop()) }()
		return g.measure(ctx, r)
	})
}

// growth measures a controller.
type growth struct {
	Settings
	env        *framework.Env
	builds     []build
	controller *program
	loop       *bare
	standing   int
	// probes is the number of spaces that probe created.
	probes int
}

// build is a program that is measured, with the suffix of the names of its series.
type build struct{ path, suffix string }

// costs are the measurements of a controller with ever more objects.
type costs struct {
	one, start, startCPU, memory, rest, scrape report.Growth
}

func newCosts(of string) *costs {
	return &costs{
		one:      report.Growth{Title: "from the allocation of one more claim until it is Ready", Unit: "s", Of: of},
		start:    report.Growth{Title: "start until the caches are in sync", Unit: "s", Of: of},
		startCPU: report.Growth{Title: "CPU from the start until at rest", Unit: "s", Of: of},
		memory:   report.Growth{Title: "memory", Unit: "MiB", Of: of},
		rest:     report.Growth{Title: "CPU at rest", Unit: "thousandths of a core", Of: of},
		scrape:   report.Growth{Title: "one scrape of the metrics", Unit: "s", Of: of},
	}
}

func (c *costs) all() []*report.Growth {
	return []*report.Growth{&c.one, &c.start, &c.startCPU, &c.memory, &c.rest, &c.scrape}
}

const (
	controllerName = "the controller"
	spaceName      = "a space"
	loopName       = "the bare loop"
	peakName       = "peak of the process"
	liveName       = "live objects"
)

func (g *growth) measure(ctx context.Context, r *report.Report) error {
	if err := g.restart(ctx, g.builds[0]); err != nil {
		return err
	}
	sample, err := g.fill(ctx, 1)
	if err != nil {
		return err
	}
	if g.loop, err = copyOf(ctx, g.env, sample); err != nil {
		return err
	}
	spaces := newCosts("standing spaces")
	for _, n := range g.Standing {
		if _, err := g.fill(ctx, n); err != nil {
			return err
		}
		if err := g.measureAll(ctx, spaces, n); err != nil {
			return err
		}
	}
	r.AddGrowth(spaces.all()...)
	most := slices.Max(g.Standing)
	first, last := spaces.one.Ends(spaceName)
	_, peak := spaces.memory.Ends(peakName)
	_, start := spaces.start.Ends(controllerName)
	r.Goals = append(r.Goals,
		report.AtMost(fmt.Sprintf("one more space at %d against %d", most, slices.Min(g.Standing)), flat, report.Ratio(last, first)),
		report.AtMost(fmt.Sprintf("MiB at %d, peak of the process", most), 100, peak),
		report.AtMost(fmt.Sprintf("seconds until the caches are in sync at %d", most), 10, start))
	r.Notes = append(r.Notes, fmt.Sprintf("Spaces are made one by one, %d at each number, in turns with as many of the bare loop. At rest: for %s, with one resync of all spaces in it.", g.Pods, g.Rest))
	if g.Others == 0 {
		return nil
	}

	others := newCosts(fmt.Sprintf("claims of another driver, besides %d spaces", g.standing))
	if err := g.measureAll(ctx, others, 0); err != nil {
		return err
	}
	if err := (claims{g.env.Client, g.Parallel, otherDriver}).make(ctx, "other", g.Others, func(*resourceapi.ResourceClaim) {}); err != nil {
		return err
	}
	if err := g.measureAll(ctx, others, g.Others); err != nil {
		return err
	}
	r.AddGrowth(others.all()...)
	return nil
}

// fill creates spaces until there are n, and returns one of the claims.
func (g *growth) fill(ctx context.Context, n int) (sample *resourceapi.ResourceClaim, err error) {
	begin, before := time.Now(), g.standing
	for g.standing < n {
		some := min(chunk, n-g.standing)
		_, all, err := claims{g.env.Client, g.Parallel, spaceapi.DefaultDriverName}.ready(ctx, fmt.Sprintf("g%d", g.standing), some, func(*resourceapi.ResourceClaim) {})
		if err != nil {
			return nil, err
		}
		sample = all[0]
		g.standing += some
	}
	g.logf("%d spaces stand, %.1f/s made", n, float64(n-before)/time.Since(begin).Seconds())
	return sample, nil
}

func (g *growth) stop() error {
	if g.controller == nil {
		return nil
	}
	return g.controller.end()
}

// restart restarts the controller and waits until its caches are in sync.
func (g *growth) restart(ctx context.Context, b build) (err error) {
	if err := g.stop(); err != nil {
		return err
	}
	g.controller, err = startProgram(ctx, b.path, "--kubeconfig="+g.env.Cluster.Kubeconfig(), "--leader-elect-resource-namespace="+framework.DriverNamespace,
		fmt.Sprintf("--resync-period=%s", g.Rest))
	if err != nil {
		return err
	}
	return g.controller.awaitReady(ctx)
}

// measureAll measures all builds.
func (g *growth) measureAll(ctx context.Context, to *costs, n int) error {
	// The one that is measured last also provisions the next spaces.
	for _, b := range slices.Backward(g.builds) {
		if err := g.measureBuild(ctx, b, to, n); err != nil {
			return err
		}
	}
	return nil
}

// measureBuild measures the start of a controller, then the controller at rest, and one more space.
func (g *growth) measureBuild(ctx context.Context, b build, to *costs, n int) error {
	begin := time.Now()
	if err := g.restart(ctx, b); err != nil {
		return err
	}
	to.start.Add(n, controllerName+b.suffix, time.Since(begin).Seconds())
	c := g.controller
	if err := c.awaitRest(ctx); err != nil {
		return err
	}
	started, err := c.cpu()
	if err != nil {
		return err
	}
	to.startCPU.Add(n, controllerName+b.suffix, started.Seconds())
	rest, err := c.load(ctx, g.Rest)
	if err != nil {
		return err
	}
	to.rest.Add(n, controllerName+b.suffix, 1000*rest)
	peak, err := c.peak()
	if err != nil {
		return err
	}
	to.memory.Add(n, peakName+b.suffix, peak)
	for range g.Pods {
		begin = time.Now()
		if _, err := c.metrics(ctx); err != nil {
			return err
		}
		to.scrape.Add(n, controllerName+b.suffix, time.Since(begin).Seconds())
	}
	live, err := c.live(ctx)
	if err != nil {
		return err
	}
	to.memory.Add(n, liveName+b.suffix, live)
	return g.probe(ctx, b, to, n)
}

// probe measures one more space several times, in turns with the bare loop.
func (g *growth) probe(ctx context.Context, b build, to *costs, n int) error {
	for range g.Pods {
		g.probes++
		var begin time.Time
		served := make(chan error, 1)
		for _, sort := range []struct {
			name, driver string
			allocated    func(*resourceapi.ResourceClaim)
		}{
			{spaceName, spaceapi.DefaultDriverName, func(*resourceapi.ResourceClaim) {
				begin = time.Now()
				served <- nil
			}},
			{loopName, bareDriver, func(claim *resourceapi.ResourceClaim) {
				begin = time.Now()
				served <- g.loop.serve(ctx, claim)
			}},
		} {
			if _, _, err := (claims{g.env.Client, 1, sort.driver}).ready(ctx, fmt.Sprintf("one-%d-%s", g.probes, sort.driver), 1, sort.allocated); err != nil {
				return err
			}
			if err := <-served; err != nil {
				return err
			}
			to.one.Add(n, sort.name+b.suffix, time.Since(begin).Seconds())
		}
	}
	return nil
}

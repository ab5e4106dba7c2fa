// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Node measures the plugin through its own socket, with ever more prepared claims on the
// node and then with ever fewer, so that a change of the machine's load is not mistaken for
// growth.
func Node(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "node", Title: "The kubelet plugin, with prepared claims on its node", Machine: report.ThisMachine()}
	return r, s.onControlPlane(ctx, nil, func(env *framework.Env) error {
		return withController(env, func() (err error) {
			object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}}
			if _, err := env.Client.CoreV1().Nodes().Create(ctx, object, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("make Node %s: %w", nodeName, err)
			}
			most := slices.Max(s.Prepared)
			_, all, err := claims{env.Client, s.Parallel, spaceapi.DefaultDriverName}.ready(ctx, "node", most+s.Pods, func(*resourceapi.ResourceClaim) {})
			if err != nil {
				return err
			}
			n, err := newNode(env)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, n.remove()) }()
			if err := n.start(ctx); err != nil {
				return err
			}
			g := newNodeGrowth(s, n, all[:most], all[most:])
			if err := g.measure(ctx); err != nil {
				return err
			}
			g.report(r)
			return nil
		})
	})
}

// nodeGrowth measures a node.
type nodeGrowth struct {
	Settings
	node *node
	// all are claims, of which the first prepared ones are prepared, and probes are claims
	// that are prepared and unprepared to measure it.
	all, probes []*resourceapi.ResourceClaim
	prepared    int

	calls, renewal, cpu, memory, counts report.Growth
}

const (
	prepareCall   = "Prepare"
	unprepareCall = "Unprepare"
	// renewers is how many tokens the plugin renews at the same time.
	renewers = 4
	// flat is the largest ratio, between the most objects and the fewest, of a duration that
	// does not depend on their number, on a machine with other load.
	flat      = 1.5
	bareCalls = "the claim read and a token requested, without the plugin"
)

func newNodeGrowth(s Settings, n *node, all, probes []*resourceapi.ResourceClaim) *nodeGrowth {
	const of = "prepared claims"
	return &nodeGrowth{
		Settings: s, node: n, all: all, probes: probes,
		calls:   report.Growth{Title: "one more claim", Unit: "s", Of: of},
		renewal: report.Growth{Title: "start of the plugin until all tokens are renewed", Unit: "s", Of: of},
		cpu:     report.Growth{Title: "CPU for that, for each token", Unit: "ms", Of: of},
		memory:  report.Growth{Title: "memory", Unit: "MiB", Of: of},
		counts:  report.Growth{Title: "goroutines and open files", Unit: "number", Of: of},
	}
}

func (g *nodeGrowth) measure(ctx context.Context) error {
	// The first calls warm up, and are not counted.
	for _, claim := range g.probes {
		if err := errors.Join(g.node.prepare(ctx, claim), g.node.unprepare(ctx, claim)); err != nil {
			return err
		}
	}
	for _, n := range g.Prepared {
		if err := g.prepareUntil(ctx, n); err != nil {
			return err
		}
		if err := g.probe(ctx); err != nil {
			return err
		}
		if err := g.renew(ctx); err != nil {
			return err
		}
		if err := g.rest(ctx); err != nil {
			return err
		}
	}
	for _, n := range slices.Backward(g.Prepared) {
		if err := g.prepareUntil(ctx, n); err != nil {
			return err
		}
		if err := g.probe(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepareUntil prepares or unprepares claims until n are prepared.
func (g *nodeGrowth) prepareUntil(ctx context.Context, n int) error {
	from := g.prepared
	g.prepared = n
	g.logf("%d prepared claims", n)
	if n < from {
		return each(ctx, from-n, g.Parallel, func(ctx context.Context, i int) error { return g.node.unprepare(ctx, g.all[n+i]) })
	}
	return each(ctx, n-from, g.Parallel, func(ctx context.Context, i int) error { return g.node.prepare(ctx, g.all[from+i]) })
}

// probe measures one more claim, in turns with the bare calls.
func (g *nodeGrowth) probe(ctx context.Context) error {
	for _, claim := range g.probes {
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{prepareCall, func() error { return g.node.prepare(ctx, claim) }},
			{unprepareCall, func() error { return g.node.unprepare(ctx, claim) }},
			{bareCalls, func() error { return g.bare(ctx, claim) }},
		} {
			begin := time.Now()
			if err := step.do(); err != nil {
				return err
			}
			g.calls.Add(g.prepared, step.name, time.Since(begin).Seconds())
		}
	}
	return nil
}

// bare makes the calls to the API server that every Prepare needs: it reads the claim and
// requests a token.
func (g *nodeGrowth) bare(ctx context.Context, claim *resourceapi.ResourceClaim) error {
	client := g.node.env.Client
	claim, err := client.ResourceV1().ResourceClaims(claim.Namespace).Get(ctx, claim.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read a claim: %w", err)
	}
	data, err := dataOf(claim)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().ServiceAccounts(data.Namespace).CreateToken(ctx, data.ServiceAccount, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("get a token: %w", err)
	}
	return nil
}

// renew restarts the plugin, which then renews all tokens.
func (g *nodeGrowth) renew(ctx context.Context) error {
	if err := g.node.stop(); err != nil {
		return err
	}
	begin := time.Now()
	if err := g.node.start(ctx); err != nil {
		return err
	}
	p := g.node.plugin
	if err := p.await(ctx, "renew all tokens", 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		metrics, err := p.metrics(ctx)
		for _, sample := range metrics["space_dra_token_renewals_total"] {
			if sample.Metric["result"] == "success" {
				return int(sample.Value) >= g.prepared, err
			}
		}
		return false, err
	}); err != nil {
		return err
	}
	g.renewal.Add(g.prepared, "the plugin", time.Since(begin).Seconds())
	cpu, err := p.cpu()
	if err != nil {
		return err
	}
	g.cpu.Add(g.prepared, "the plugin", float64(cpu.Milliseconds())/float64(g.prepared))
	begin = time.Now()
	if err := each(ctx, g.prepared, renewers, func(ctx context.Context, i int) error { return g.bare(ctx, g.all[i]) }); err != nil {
		return err
	}
	g.renewal.Add(g.prepared, bareCalls, time.Since(begin).Seconds())
	return nil
}

// rest measures the plugin at rest.
func (g *nodeGrowth) rest(ctx context.Context) error {
	p := g.node.plugin
	if err := p.awaitRest(ctx); err != nil {
		return err
	}
	peak, err := p.peak()
	if err != nil {
		return err
	}
	live, err := p.live(ctx)
	if err != nil {
		return err
	}
	metrics, err := p.metrics(ctx)
	if err != nil {
		return err
	}
	g.memory.Add(g.prepared, peakName, peak)
	g.memory.Add(g.prepared, liveName, live)
	for _, count := range []struct{ name, metric string }{{"goroutines", "go_goroutines"}, {"open files", "process_open_fds"}} {
		for _, sample := range metrics[count.metric] {
			g.counts.Add(g.prepared, count.name, float64(sample.Value))
		}
	}
	return nil
}

func (g *nodeGrowth) report(r *report.Report) {
	r.AddGrowth(&g.calls, &g.renewal, &g.cpu, &g.memory, &g.counts)
	for _, call := range []string{prepareCall, unprepareCall} {
		first, last := g.calls.Ends(call)
		r.Goals = append(r.Goals, report.AtMost(fmt.Sprintf("%s with %d prepared claims against %d", call, slices.Max(g.Prepared), slices.Min(g.Prepared)), flat, report.Ratio(last, first)))
	}
	r.Notes = append(r.Notes,
		fmt.Sprintf("Calls are one by one, %d at each number while it grows and as many while it shrinks again.", len(g.probes)),
		"Bare: the claim read and a token requested, by the benchmark itself, and for renewals as many at the same time as the plugin has.",
		"A plugin that starts renews all tokens, as they may have ended meanwhile. It spreads nothing out then, so this is the worst case.")
}

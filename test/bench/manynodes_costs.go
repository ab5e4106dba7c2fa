// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// nodeCosts are what pools take, with ever more nodes.
type nodeCosts struct {
	slices, bytes, publish, publishCPU, publishCalls report.Growth
	restart, restartCPU, restartCalls                report.Growth
	memory, idle                                     report.Growth
	joinCPU, joinCalls                               report.Growth
	leaveCPU, leaveCalls                             report.Growth
	bound, ready                                     report.Growth
}

func newNodeCosts() nodeCosts {
	of := func(title, unit string) report.Growth { return report.Growth{Title: title, Unit: unit, Of: "nodes"} }
	return nodeCosts{
		slices:       of("ResourceSlices", "number"),
		bytes:        of("all ResourceSlices, as etcd stores them", "KiB"),
		publish:      of("start of a controller that finds none until all ResourceSlices are there", "s"),
		publishCPU:   of("CPU of the controller for that, until at rest", "s"),
		publishCalls: of("API calls for that, which create, patch or delete", "number"),
		restart:      of("start of a controller that finds all until the cluster is read", "s"),
		restartCPU:   of("CPU of a controller that finds all, until at rest", "s"),
		restartCalls: of("API calls for that, which create, patch or delete", "number"),
		memory:       of("memory", "MiB"),
		idle:         of("CPU at rest", "thousandths of a core"),
		joinCPU:      of("CPU of the controller for one more node", "s"),
		joinCalls:    of("API calls for one more node, which create, patch or delete", "number"),
		leaveCPU:     of("CPU of the controller for one node less", "s"),
		leaveCalls:   of("API calls for one node less, which create, patch or delete", "number"),
		bound:        of("a pod until it is bound to a node", "s"),
		ready:        of("a claim from its allocation until it is Ready", "s"),
	}
}

func (c *nodeCosts) all() []*report.Growth {
	return []*report.Growth{
		&c.slices, &c.bytes, &c.publish, &c.publishCPU, &c.publishCalls, &c.restart, &c.restartCPU, &c.restartCalls, &c.memory, &c.idle,
		&c.joinCPU, &c.joinCalls, &c.leaveCPU, &c.leaveCalls, &c.bound, &c.ready,
	}
}

// taken is what the controller has taken so far.
type taken struct{ cpu, calls float64 }

// restTaken waits until the controller is at rest and says what it has taken so far.
func (m *manyNodes) restTaken(ctx context.Context) (taken, error) {
	if err := m.controller.awaitRest(ctx); err != nil {
		return taken{}, err
	}
	cpu, err := m.controller.cpu()
	if err != nil {
		return taken{}, err
	}
	metrics, err := m.controller.metrics(ctx)
	return taken{cpu.Seconds(), callsIn(metrics)}, err
}

// callsIn counts requests that create, patch or delete. They are not counted by resource,
// and leader election reads and updates for as long as time passes.
func callsIn(metrics samples) float64 {
	var sum float64
	for key, value := range metrics {
		if strings.HasPrefix(key, "rest_client_requests_total{") && !strings.Contains(key, `method="PUT"`) && !strings.Contains(key, `method="GET"`) {
			sum += value
		}
	}
	return sum
}

// publish measures a controller that finds nothing published.
func (m *manyNodes) publish(ctx context.Context, s sort) error {
	begin := time.Now()
	if err := m.start(ctx, s); err != nil {
		return err
	}
	if err := m.awaitPublished(ctx, s, m.names()); err != nil {
		return err
	}
	if !s.perNode {
		m.nodeCosts.publish.Add(m.standing, s.name, time.Since(begin).Seconds())
	}
	took, err := m.restTaken(ctx)
	if err != nil {
		return err
	}
	m.publishCPU.Add(m.standing, s.name, took.cpu)
	m.publishCalls.Add(m.standing, s.name, took.calls)
	objects, bytes := m.sight.slices.List(), 0
	for _, object := range objects {
		bytes += object.(*resourceapi.ResourceSlice).Size()
	}
	m.slices.Add(m.standing, s.name, float64(len(objects)))
	m.bytes.Add(m.standing, s.name, float64(bytes)/1024)
	return nil
}

// restart measures a controller that finds everything published.
func (m *manyNodes) restart(ctx context.Context, s sort) error {
	if err := m.stop(); err != nil {
		return err
	}
	begin := time.Now()
	if err := m.start(ctx, s); err != nil {
		return err
	}
	if err := m.controller.awaitReady(ctx); err != nil {
		return err
	}
	m.nodeCosts.restart.Add(m.standing, s.name, time.Since(begin).Seconds())
	took, err := m.restTaken(ctx)
	if err != nil {
		return err
	}
	m.restartCPU.Add(m.standing, s.name, took.cpu)
	m.restartCalls.Add(m.standing, s.name, took.calls)
	return m.awaitPublished(ctx, s, m.names())
}

// rest measures a controller that has nothing to do.
func (m *manyNodes) rest(ctx context.Context, s sort) error {
	load, err := m.controller.load(ctx, m.Rest)
	if err != nil {
		return err
	}
	m.idle.Add(m.standing, s.name, 1000*load)
	peak, err := m.controller.peak()
	if err != nil {
		return err
	}
	live, err := m.controller.live(ctx)
	if err != nil {
		return err
	}
	m.memory.Add(m.standing, peakName+", "+s.name, peak)
	m.memory.Add(m.standing, liveName+", "+s.name, live)
	return nil
}

// comeAndGo measures a node that joins and leaves.
func (m *manyNodes) comeAndGo(ctx context.Context, s sort) error {
	api, node := m.env.Client.CoreV1().Nodes(), simulatedNode(m.standing)
	before := m.names()
	with := slices.Sorted(slices.Values(append(slices.Clone(before), node.Name)))
	for range m.Rounds {
		for _, change := range []struct {
			cpu, calls *report.Growth
			nodes      []string
			do         func() error
		}{
			{&m.joinCPU, &m.joinCalls, with, func() error {
				created, err := api.Create(ctx, node, metav1.CreateOptions{})
				if err != nil || !s.perNode {
					return err
				}
				return m.publishOn(ctx, s, created)
			}},
			// Garbage collection deletes its slice.
			{&m.leaveCPU, &m.leaveCalls, before, func() error { return api.Delete(ctx, node.Name, metav1.DeleteOptions{}) }},
		} {
			first, err := m.restTaken(ctx)
			if err != nil {
				return err
			}
			if err := change.do(); err != nil {
				return fmt.Errorf("node %s: %w", node.Name, err)
			}
			if err := m.awaitPublished(ctx, s, change.nodes); err != nil {
				return err
			}
			if err := m.sight.await(ctx, func() string { return unfit(m.sight.nodes.List(), len(change.nodes)) }); err != nil {
				return err
			}
			last, err := m.restTaken(ctx)
			if err != nil {
				return err
			}
			change.cpu.Add(m.standing, s.name, last.cpu-first.cpu)
			change.calls.Add(m.standing, s.name, last.calls-first.calls)
		}
	}
	return nil
}

// schedule measures pods with and without a space, in turns. The first warm up.
func (m *manyNodes) schedule(ctx context.Context, s sort) error {
	for i := range m.Pods + 1 {
		m.probed++
		name := fmt.Sprintf("probe-%d", m.probed)
		plain, err := m.scheduleOne(ctx, name+"-plain", false)
		if err != nil {
			return err
		}
		with, err := m.scheduleOne(ctx, name, true)
		if err != nil {
			return err
		}
		if i > 0 {
			m.bound.Add(m.standing, plainPod, plain["bound"])
			m.bound.Add(m.standing, s.name, with["bound"])
			m.ready.Add(m.standing, s.name, with["Ready"]-with["allocated"])
		}
	}
	return nil
}

// scheduleOne creates a pod and returns after how many seconds each step was seen. The
// pod stays.
func (m *manyNodes) scheduleOne(ctx context.Context, name string, space bool) (map[string]float64, error) {
	pod := framework.NewPod(name)
	if space {
		if _, err := m.env.Client.ResourceV1().ResourceClaims(metav1.NamespaceDefault).Create(ctx, framework.NewClaim(name), metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("create a claim: %w", err)
		}
		pod = framework.NewPod(name, name)
	}
	pod.Spec.AutomountServiceAccountToken = ptr.To(false)
	begin := time.Now()
	if _, err := m.env.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("create pod %s: %w", name, err)
	}
	key, seen := metav1.NamespaceDefault+"/"+name, map[string]float64{}
	see := func(step string, is bool) {
		if _, known := seen[step]; is && !known {
			seen[step] = time.Since(begin).Seconds()
		}
	}
	return seen, m.sight.await(ctx, func() string {
		claim := m.sight.claim(key)
		see("bound", m.sight.pod(key).Spec.NodeName != "")
		see("allocated", claim.Status.Allocation != nil)
		see("Ready", len(claim.Status.Devices) > 0 && claim.Status.Devices[0].Data != nil)
		if len(seen) < 3 && space || len(seen) == 0 {
			return fmt.Sprintf("of pod %s only %v was seen", name, seen)
		}
		return ""
	})
}

func (m *manyNodes) report(r *report.Report) {
	r.AddGrowth(m.all()...)
	most, least := slices.Max(m.Nodes), slices.Min(m.Nodes)
	for _, name := range []string{wholePool, perNodePool} {
		_, join := m.joinCalls.Ends(name)
		_, leave := m.leaveCalls.Ends(name)
		first, last := m.bound.Ends(name)
		_, plain := m.bound.Ends(plainPod)
		r.Goals = append(r.Goals,
			report.AtMost(fmt.Sprintf("%s: API calls for one more of %d nodes", name, most), 0, join),
			report.AtMost(fmt.Sprintf("%s: API calls for one of %d nodes less", name, most), 0, leave),
			report.AtMost(fmt.Sprintf("%s: a pod until it is bound, at %d nodes against %d", name, most, least), flat, report.Ratio(last, first)),
			report.AtMost(fmt.Sprintf("%s: seconds until a pod is bound at %d nodes, more than without a claim", name, most), 0.15, last-plain))
	}
	r.Notes = append(r.Notes,
		fmt.Sprintf("Nodes and their %d pods each are kwok's, whose leases are renewed each %d s. Nodes that join and leave have no pods.", podsOnNode, leaseSeconds/4),
		fmt.Sprintf("Pods are started one by one, %d with a space in turns with as many without a claim. They stay, on nodes without a plugin.", m.Pods),
		fmt.Sprintf("The slices of nodes are written as their kubelet plugins would. At rest: for %s. A controller that starts asks once, without storing anything, which fields the API server keeps.", m.Rest))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"testing"
)

// call is a call of the kubelet to a plugin.
type call func(t *testing.T, p *plugin, c *claim) error

func prepare(t *testing.T, p *plugin, c *claim) error {
	ctx, cancel := patience(t)
	defer cancel()
	_, err := p.prepare(ctx, c)
	return err
}

func unprepare(t *testing.T, p *plugin, c *claim) error {
	ctx, cancel := patience(t)
	defer cancel()
	return p.unprepare(ctx, c)
}

// stepsOf returns the steps that a plugin takes in a call about a claim which is,
// or is not, prepared.
func stepsOf(t *testing.T, do call, c *claim, prepared bool) []string {
	t.Helper()
	n := newNode(t)
	p := n.startCounted(t)
	if prepared {
		n.wantPrepared(t, p, c)
	}
	n.steps.count(noLast)
	if err := do(t, p, c); err != nil {
		t.Fatal(err)
	}
	names := n.steps.stop()
	p.kill()
	return names
}

// killedAt returns a node on which the plugin was killed in a call, before it took
// the step with the number, or after it took the last. What a plugin does by itself may
// be a step more or less than in another run.
func killedAt(t *testing.T, do call, c *claim, prepared bool, last int) *node {
	t.Helper()
	n := newNode(t)
	p := n.startCounted(t)
	if prepared {
		n.wantPrepared(t, p, c)
	}
	n.steps.count(last)
	if err := do(t, p, c); err != nil && !n.steps.killed() {
		t.Fatalf("the call ended with error %v; the steps were %q", err, n.steps.stop())
	}
	p.kill()
	n.steps.stop()
	return n
}

// afterwards are the orders in which the kubelet may go on.
var afterwards = map[string]func(t *testing.T, n *node, c *claim){
	"then Prepare and Unprepare": func(t *testing.T, n *node, c *claim) {
		p := n.startAfterKill(t)
		n.wantPrepared(t, p, c)
		n.wantUnprepared(t, p, c)
	},
	"then Unprepare": func(t *testing.T, n *node, c *claim) {
		n.wantUnprepared(t, n.startAfterKill(t), c)
	},
}

// killEverywhere kills the plugin before each step of a call, and after the last.
func killEverywhere(t *testing.T, do call, prepared bool) {
	c := standing(t, "a", "b")
	names := append(stepsOf(t, do, c, prepared), "end")
	for i, name := range names {
		for order, goOn := range afterwards {
			t.Run(fmt.Sprintf("%02d before %s, %s", i+1, name, order), func(t *testing.T) {
				t.Parallel()
				goOn(t, killedAt(t, do, c, prepared, i+1), c)
			})
		}
	}
}

func TestKilledPrepare_canBeRepeatedOrUndone(t *testing.T) { killEverywhere(t, prepare, false) }

func TestKilledPrepare_ofAPreparedClaim(t *testing.T) {
	killEverywhere(t, prepare, true)
}

func TestKilledUnprepare_canBeRepeated(t *testing.T) { killEverywhere(t, unprepare, true) }

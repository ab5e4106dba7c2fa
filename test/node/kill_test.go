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
	_, err := p.prepare(t, c)
	return err
}

func unprepare(t *testing.T, p *plugin, c *claim) error { return p.unprepare(t, c) }

// killedAt returns a node on which the plugin was killed in a call, before it took the
// step with the number, or after it took the last, and the steps that it took. What a
// plugin does by itself may be a step more or less than in another run.
func killedAt(t *testing.T, do call, c *claim, prepared bool, last int) (*node, []string) {
	t.Helper()
	n := newNode(t)
	p := n.startCounted(t)
	if prepared {
		n.wantPrepared(t, p, c)
	}
	n.steps.count(last)
	err := do(t, p, c)
	names, killed := n.steps.stop()
	if err != nil && !killed {
		t.Fatalf("the call ended with error %v; the steps were %q", err, names)
	}
	p.kill()
	return n, names
}

// afterwards are the orders in which the kubelet may go on: whether it prepares the claim
// before it unprepares it.
var afterwards = map[string]bool{"then Prepare and Unprepare": true, "then Unprepare": false}

// goOn starts another plugin after one was killed, and ends the claim.
func (n *node) goOn(t *testing.T, c *claim, prepare bool) {
	t.Helper()
	p := n.startAfterKill(t)
	if prepare {
		n.wantPrepared(t, p, c)
	}
	n.wantUnprepared(t, p, c)
}

// killEverywhere kills the plugin before each step of a call, and after the last.
func killEverywhere(t *testing.T, do call, prepared bool) {
	c := standing(t, "a", "b")
	_, names := killedAt(t, do, c, prepared, noLast)
	for i, name := range append(names, "end") {
		for order, prepare := range afterwards {
			t.Run(fmt.Sprintf("%02d before %s, %s", i+1, name, order), func(t *testing.T) {
				t.Parallel()
				n, _ := killedAt(t, do, c, prepared, i+1)
				n.goOn(t, c, prepare)
			})
		}
	}
}

func TestKilledPrepare_canBeRepeatedOrUndone(t *testing.T) { killEverywhere(t, prepare, false) }

func TestKilledPrepare_ofAPreparedClaim(t *testing.T) { killEverywhere(t, prepare, true) }

func TestKilledUnprepare_canBeRepeated(t *testing.T) { killEverywhere(t, unprepare, true) }

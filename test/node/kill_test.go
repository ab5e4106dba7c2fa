// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"testing"
)

// call is a call of the kubelet.
type call func(t *testing.T, p *plugin, c *claim) error

func prepare(t *testing.T, p *plugin, c *claim) error {
	_, err := p.prepare(t, c)
	return err
}

func unprepare(t *testing.T, p *plugin, c *claim) error { return p.unprepare(t, c) }

// killAtStep returns a node on which the kubelet plugin was killed in a call, before step number last, or
// after the call. It also returns the steps. Their number can vary, because of background work.
func killAtStep(t *testing.T, do call, c *claim, prepared bool, last int) (*node, []string) {
	t.Helper()
	n := newNode(t)
	p := n.startCounted(t)
	if prepared {
		n.mustPrepare(t, p, c)
	}
	n.steps.count(last)
	err := do(t, p, c)
	names, killed := n.steps.stop()
	if err != nil && !killed {
		t.Fatalf("the call returned error %v after the steps %q", err, names)
	}
	p.kill()
	return n, names
}

// nextCalls are the calls that the kubelet may make after a failure, with and without Prepare.
var nextCalls = map[string]bool{"then Prepare and Unprepare": true, "then Unprepare": false}

// restart starts the kubelet plugin after it was killed, and unprepares the claim.
func (n *node) restart(t *testing.T, c *claim, prepare bool) {
	t.Helper()
	p := n.startAfterKill(t)
	if prepare {
		n.mustPrepare(t, p, c)
	}
	n.mustUnprepare(t, p, c)
}

// testKillAtEachStep kills the kubelet plugin before each step of a call, and after the last one.
func testKillAtEachStep(t *testing.T, do call, prepared bool) {
	c := readyClaim(t, "a", "b")
	_, names := killAtStep(t, do, c, prepared, noLimit)
	for i, name := range append(names, "end") {
		for order, prepare := range nextCalls {
			t.Run(fmt.Sprintf("%02d before %s, %s", i+1, name, order), func(t *testing.T) {
				t.Parallel()
				n, _ := killAtStep(t, do, c, prepared, i+1)
				n.restart(t, c, prepare)
			})
		}
	}
}

func TestKilledPrepare_canBeRepeatedOrUndone(t *testing.T) { testKillAtEachStep(t, prepare, false) }

func TestKilledPrepare_keepsAPreparedClaim(t *testing.T) { testKillAtEachStep(t, prepare, true) }

func TestKilledUnprepare_canBeRepeated(t *testing.T) { testKillAtEachStep(t, unprepare, true) }

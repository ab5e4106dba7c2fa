// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"strings"
	"testing"

	"github.com/space-dra/space-dra-driver/test/framework"
)

func TestPluginRequests_areAsDocumented(t *testing.T) {
	t.Parallel()
	framework.CheckCosts(t, func(costs *framework.Costs) {
		c := standing(t)
		n := newNode(t)
		p := n.start(t)
		for _, step := range []struct {
			what string
			do   func()
		}{
			{"the first pod", func() { n.wantPrepared(t, p, c) }},
			{"a renewal of the token", func() {
				replaceAccount(t, c)
				n.awaitRenewed(t, c)
			}},
			{"the last pod terminates", func() { n.wantUnprepared(t, p, c) }},
		} {
			n.steps.count(noLast)
			step.do()
			reads, writes := 0, 0
			calls, _ := n.steps.stop()
			for _, call := range calls {
				switch {
				case strings.HasPrefix(call, "get "):
					reads++
				case !strings.HasPrefix(call, "the answer to "):
					writes++
				}
			}
			costs.Count(step.what, reads, writes)
		}
		p.kill()
	})
}

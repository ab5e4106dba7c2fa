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
	framework.CheckRequestCounts(t, func(counts *framework.RequestCounts) {
		c := readyClaim(t)
		n := newNode(t)
		p := n.start(t)
		for _, step := range []struct {
			what string
			do   func()
		}{
			{"the first pod", func() { n.mustPrepare(t, p, c) }},
			{"a new token for a replaced ServiceAccount", func() {
				replaceAccount(t, c)
				n.awaitRenewed(t, c)
			}},
			{"the last pod terminates", func() { n.mustUnprepare(t, p, c) }},
		} {
			n.steps.count(noLimit)
			step.do()
			reads, writes := 0, 0
			calls, _ := n.steps.stop()
			for _, call := range calls {
				switch {
				case strings.HasPrefix(call, "get "):
					reads++
				case !strings.HasPrefix(call, "the response to "):
					writes++
				}
			}
			counts.Count(step.what, reads, writes)
		}
		p.kill()
	})
}

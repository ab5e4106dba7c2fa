// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import "github.com/space-dra/space-dra-driver/pkg/space/metrics"

// tokens says how the tokens are that are kept fresh.
func (k *keeper) tokens() metrics.Tokens {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	out := metrics.Tokens{Claims: len(k.kept)}
	for _, c := range k.kept {
		for i, p := range c.plans {
			if c.expired[i] || p.expire.IsZero() {
				continue
			}
			if left := p.expire.Sub(k.driver.Clock.Now()); !out.Known || left < out.Left {
				out.Known, out.Left = true, left
			}
		}
	}
	return out
}

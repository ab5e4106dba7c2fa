// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"time"

	"github.com/space-dra/space-dra-driver/pkg/space/token"
)

// schedule is when the tokens of a claim are to be replaced, and when the first of
// them ends. What is not known is zero.
type schedule struct {
	renew, expire time.Time
}

func scheduleOf(tokens []token.Token, jitter float64) schedule {
	var s schedule
	for _, t := range tokens {
		if at := token.RenewAt(t, jitter); s.renew.IsZero() || at.Before(s.renew) {
			s.renew = at
		}
		if s.expire.IsZero() || t.Expires.Before(s.expire) {
			s.expire = t.Expires
		}
	}
	return s
}

// retry is when to try again after a failure, unless the back-off were shorter
// than what is left: the nearer the end of the tokens, the shorter the delays, so
// that an outage which ends just before it does not cost them.
func (s schedule) retry(now time.Time, backOff time.Duration) time.Duration {
	left := s.expire.Sub(now)
	if s.expire.IsZero() || left <= 0 {
		return backOff
	}
	return min(backOff, max(firstRetry, left/4))
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"strings"
	"testing"
	"time"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
)

func (n *node) wantNoEvent(during time.Duration) {
	n.t.Helper()
	select {
	case e := <-n.events.Events:
		n.t.Errorf("there is event %q", e)
	case <-time.After(during):
	}
}

// awaitEvent waits for an event and says how long that took.
func (n *node) awaitEvent() (string, time.Duration) {
	n.t.Helper()
	start := time.Now()
	select {
	case e := <-n.events.Events:
		return e, time.Since(start)
	case <-time.After(longTime):
		n.t.Fatalf("waited %s for an event", longTime)
		return "", 0
	}
}

func TestUsersHearOfARenewalThatGoesOnFailing(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		for range 2 { // after a success it begins again
			n.minter.failWith(errors.New("webhook says no"))
			n.wantNoEvent(renewal - time.Second)
			e, took := n.awaitEvent()
			if took < troubleAfter || took > 2*troubleAfter {
				t.Errorf("it took %s, want a bit more than %s", took, troubleAfter)
			}
			for _, part := range []string{"Warning", spaceapi.ReasonRenewalFailing, "node-7", "webhook says no"} {
				if !strings.Contains(e, part) {
					t.Errorf("the event does not say %q: %s", part, e)
				}
			}
			if _, took := n.awaitEvent(); took < troubleAgain || took > troubleAgain+lastRetry {
				t.Errorf("told again after %s, want %s", took, troubleAgain)
			}
			n.minter.failWith(nil)
			n.awaitSuccess()
		}
		n.wantNoEvent(longTime)
	})
}

// awaitSuccess waits for a token that was got.
func (n *node) awaitSuccess() mint {
	n.t.Helper()
	for {
		if m := n.awaitMint("a token"); m.value != "" {
			return m
		}
	}
}

func TestAShortOutageIsNoEvent(t *testing.T) {
	onNode(t, func(t *testing.T, n *node) {
		n.prepared("a")
		n.minter.failWith(errors.New("no API server"))
		n.wantNoEvent(renewal + troubleAfter/2)
		n.minter.failWith(nil)
		n.awaitSuccess()
		n.wantNoEvent(longTime)
	})
}

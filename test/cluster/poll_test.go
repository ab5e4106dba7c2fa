// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWaitFor_reportsTheLastError(t *testing.T) {
	calls := 0
	err := waitFor(t.Context(), time.Minute, "a thing", func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("got %v after %d calls, want success after 3", err, calls)
	}

	broken := errors.New("broken")
	ctx, cancel := context.WithCancelCause(t.Context())
	err = waitFor(ctx, time.Minute, "a thing", func(context.Context) error { cancel(broken); return errors.New("not yet") })
	if !errors.Is(err, broken) {
		t.Errorf("a canceled wait: got %v", err)
	}

	err = waitFor(t.Context(), time.Millisecond, "a thing", func(context.Context) error { return broken })
	if !errors.Is(err, broken) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a thing") {
		t.Errorf("a timeout: got %v", err)
	}
}

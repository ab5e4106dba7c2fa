// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// waitFor calls check until it returns no error. After the timeout, the error
// has what was awaited and the last error of check.
func waitFor(ctx context.Context, timeout time.Duration, what string, check func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		err := check(ctx)
		if errors.As(err, &permanentError{}) {
			return false, err
		}
		// That the time is over isn't why the check failed before.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, errors.Join(err, last))
	}
	return nil
}

// permanentError ends a wait.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

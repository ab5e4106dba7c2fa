// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
)

func TestLock_outlivesTheRemovalOfItsDirectory(t *testing.T) {
	var group errgroup.Group
	for i := range 4 {
		cfg := Config{Name: fmt.Sprintf("lock-test-%d", i), Log: t.Logf}
		group.Go(func() error {
			for range 2000 {
				unlock, err := lock(t.Context(), cfg)
				if err != nil {
					return err
				}
				unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

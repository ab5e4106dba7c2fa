// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

func TestWhatIsQueuedAtTheEndIsNotBegun(t *testing.T) {
	c := newController(t)
	c.cached(c.namespaceOf(claimOf("a")))
	ctx, cancel := context.WithCancel(t.Context())
	c.queue.Add(key)
	cancel()
	c.queue.ShutDown()
	if !c.next(ctx) || c.next(ctx) {
		t.Error("the queue had one claim, and was not emptied of it")
	}
	if did := c.api.Actions(); len(did) > 0 {
		t.Errorf("the API server was asked %v", did)
	}
}

func TestAnEndThatIsInterruptedIsNoFailureToTellOf(t *testing.T) {
	c := newController(t)
	c.cached(c.namespaceOf(claimOf("a")))
	ctx, cancel := context.WithCancel(t.Context())
	c.api.PrependReactor("delete", "serviceaccounts", func(clienttesting.Action) (bool, runtime.Object, error) {
		cancel()
		return true, nil, ctx.Err()
	})
	if err := c.endOthers(ctx, key, nil); err == nil {
		t.Error("it is taken for done")
	}
	if said := c.said(); len(said) > 0 {
		t.Errorf("said %q", said)
	}
}

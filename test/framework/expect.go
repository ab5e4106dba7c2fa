// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

// Expect is Await for a state that an object may not keep for long: it begins to look
// before the test does what the state comes from. It returns when the object has been
// seen, and what it returns waits until the object was as the predicate says.
func Expect[T runtime.Object](t testing.TB, o Object, p Predicate[T]) func() T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	type result struct {
		object T
		err    error
	}
	seen, done := make(chan struct{}), make(chan result, 1)
	first := true
	looks := That(p.says, func(object T) bool {
		if first {
			first = false
			close(seen)
		}
		return p.holds(object)
	})
	go func() {
		object, err := Until(ctx, o, looks)
		done <- result{object, err}
	}()
	select {
	case <-seen:
	case <-ctx.Done():
		t.Fatalf("waited in vain to see %s", o)
	}
	return func() T {
		t.Helper()
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.object
	}
}

// InTime runs a scene in which something lives for a limited time only. A scene that
// finds that the time was over before it could look returns false. It is then run
// again, with ever more time: a slow machine proves nothing.
func InTime(t testing.TB, limit time.Duration, scene func(limit time.Duration) bool) {
	t.Helper()
	const rounds, more = 3, 3
	for range rounds {
		if scene(limit) {
			return
		}
		t.Logf("%s were over too early", limit)
		limit *= more
	}
	t.Fatal("whatever the time, it was over too early")
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package framework contains what tests and benchmarks share: clusters, functions that wait for a
// state and print it when it does not occur, and objects.
package framework

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Timeout is the timeout of functions that wait. It is much longer than any step takes on a busy
// machine.
const Timeout = 2 * time.Minute

// Predicate is a state of an object, with a description for messages.
type Predicate[T runtime.Object] struct {
	state string
	holds func(T) bool
}

// That returns a predicate. A failure reads "waited for <object> to be <state>".
func That[T runtime.Object](state string, holds func(T) bool) Predicate[T] {
	return Predicate[T]{state: state, holds: holds}
}

func (p Predicate[T]) String() string { return p.state }

// Holds reports whether an object matches.
func (p Predicate[T]) Holds(o T) bool { return p.holds(o) }

// And returns a predicate that holds if both do.
func (p Predicate[T]) And(other Predicate[T]) Predicate[T] {
	return That(p.state+" and "+other.state, func(o T) bool { return p.holds(o) && other.holds(o) })
}

// Or returns a predicate that holds if one of both does.
func (p Predicate[T]) Or(other Predicate[T]) Predicate[T] {
	return That(p.state+", or "+other.state, func(o T) bool { return p.holds(o) || other.holds(o) })
}

// Object identifies an object, or without a name all objects of a namespace.
type Object struct {
	api                       rest.Interface
	resource, namespace, name string
}

func (o Object) String() string {
	return path.Join(o.resource, o.namespace, cmp.Or(o.name, "(any)"))
}

func (o Object) listWatch() *cache.ListWatch {
	selector := fields.Everything()
	if o.name != "" {
		selector = fields.OneTermEqualSelector(metav1.ObjectNameField, o.name)
	}
	return cache.NewListWatchFromClient(o.api, o.resource, o.namespace, selector)
}

// Pod names a Pod.
func Pod(c kubernetes.Interface, namespace, name string) Object {
	return Object{c.CoreV1().RESTClient(), "pods", namespace, name}
}

// Claim names a ResourceClaim.
func Claim(c kubernetes.Interface, namespace, name string) Object {
	return Object{c.ResourceV1().RESTClient(), "resourceclaims", namespace, name}
}

// Namespace names a Namespace.
func Namespace(c kubernetes.Interface, name string) Object {
	return Object{c.CoreV1().RESTClient(), "namespaces", "", name}
}

// ServiceAccount names a ServiceAccount.
func ServiceAccount(c kubernetes.Interface, namespace, name string) Object {
	return Object{c.CoreV1().RESTClient(), "serviceaccounts", namespace, name}
}

// RoleBinding names a RoleBinding.
func RoleBinding(c kubernetes.Interface, namespace, name string) Object {
	return Object{c.RbacV1().RESTClient(), "rolebindings", namespace, name}
}

// Await waits until the object matches, and returns it. After the timeout, the test fails with the
// predicate and the object.
func Await[T runtime.Object](t testing.TB, o Object, p Predicate[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	object, err := Until(ctx, o, p)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// Until waits until the object matches, and returns it. The API server may be unavailable meanwhile.
func Until[T runtime.Object](ctx context.Context, o Object, p Predicate[T]) (T, error) {
	var last runtime.Object
	event, err := watchtools.UntilWithSync(ctx, o.listWatch(), kind[T](), nil, func(e watch.Event) (bool, error) {
		last = e.Object
		object, ok := e.Object.(T)
		return ok && e.Type != watch.Deleted && p.holds(object), nil
	})
	if err != nil {
		var none T
		return none, fmt.Errorf("waited for %s to be %s: %w; it is now: %s", o, p, err, show(last))
	}
	return event.Object.(T), nil
}

// AwaitAny waits until an object in the namespace matches, and returns it.
func AwaitAny[T runtime.Object](t testing.TB, api rest.Interface, resource, namespace string, p Predicate[T]) T {
	t.Helper()
	return Await(t, Object{api, resource, namespace, ""}, p)
}

// AwaitDeleted waits until the object does not exist.
func AwaitDeleted[T runtime.Object](t testing.TB, o Object) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	if err := UntilDeleted[T](ctx, o); err != nil {
		t.Fatal(err)
	}
}

// UntilDeleted waits until the object does not exist. The API server may be unavailable meanwhile.
func UntilDeleted[T runtime.Object](ctx context.Context, o Object) error {
	var last runtime.Object
	absent := func(store cache.Store) (bool, error) { return len(store.List()) == 0, nil }
	_, err := watchtools.UntilWithSync(ctx, o.listWatch(), kind[T](), absent, func(e watch.Event) (bool, error) {
		last = e.Object
		return e.Type == watch.Deleted, nil
	})
	if err != nil {
		return fmt.Errorf("waited for %s to be deleted: %w; it is now: %s", o, err, show(last))
	}
	return nil
}

// kind returns an empty object of the type.
func kind[T runtime.Object]() runtime.Object {
	var o T
	return reflect.New(reflect.TypeOf(o).Elem()).Interface().(runtime.Object)
}

func show(o runtime.Object) string {
	if o == nil {
		return "absent"
	}
	if object, err := meta.Accessor(o); err == nil {
		object.SetManagedFields(nil)
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return fmt.Sprintf("%T (%v)", o, err)
	}
	const limit = 4000
	if len(raw) > limit {
		raw = append(raw[:limit], "…"...)
	}
	return string(raw)
}

// Eventually repeats a check of something that cannot be watched, until it returns no error. After the
// timeout, the test fails with the last error.
func Eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	var last error
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, Timeout, true, func(ctx context.Context) (bool, error) {
		err := check(ctx)
		if ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	}); err != nil {
		t.Fatalf("waited for %s: %v; last error: %v", what, err, last)
	}
}

// WithLongerLifetimes calls a function that observes something with a limited lifetime. If the function returns
// false, because it was too slow, WithLongerLifetimes calls it again with a longer lifetime.
func WithLongerLifetimes(t testing.TB, lifetime time.Duration, observe func(lifetime time.Duration) bool) {
	t.Helper()
	const attempts, factor = 3, 3
	for range attempts {
		if observe(lifetime) {
			return
		}
		t.Logf("a lifetime of %s was too short", lifetime)
		lifetime *= factor
	}
	t.Fatal("no lifetime was long enough")
}

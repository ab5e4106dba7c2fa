// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// revocationBound is a promise of the product: after a claim was deallocated, its
// tokens are good for no longer than this. Half of them take a hundredth of it. Where
// the machine does much else, all takes longer, and that says nothing about the
// product: it is granted the time of some requests that were answered as slowly as the
// slowest of the test's own, and one in ten is not held to it.
const (
	revocationBound    = 2 * time.Second
	revocationRequests = 20
)

// Kubernetes deletes three or four namespaces a second, so this test does not wait
// until all of its own have gone. Its file comes late in the alphabet, lest other
// tests wait for them.
func TestTokensDieWithTheAllocation(t *testing.T) {
	const driver = "revocation.example.com"
	ns := env.Namespace(t)
	install(t, driver).start(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))

	t.Run("one by one", func(t *testing.T) {
		revocations(t, driver, ns, 50, nothing)
	})
	t.Run("while its own namespace hangs in Terminating", func(t *testing.T) {
		var hung []string
		revocations(t, driver, ns, 20, func(t *testing.T, namespace string) {
			hung = append(hung, namespace)
			block(t, namespace)
		})
		unblock(t, hung)
	})
	t.Run("behind 200 namespaces that hang in Terminating", func(t *testing.T) {
		hung := deadSpaces(t, driver, 200)
		revocations(t, driver, ns, 20, nothing)
		unblock(t, hung)
	})
	awaitExact(t, driver)
}

func nothing(*testing.T, string) {}

// revocations allocates and deallocates a claim again and again, and measures how
// long a token that was in use all the time goes on being good.
func revocations(t *testing.T, driver, namespace string, n int, before func(t *testing.T, space string)) {
	t.Helper()
	var times []time.Duration
	late := 0
	for range n {
		allocateTo(t, driver, namespace, "claim")
		framework.Await(t, framework.Claim(env.Client, namespace, "claim"), framework.SpacesReady(1))
		space := spaceOf(t, driver, namespace, "claim")
		before(t, space)
		token := bearerOf(t, space)
		token.awaitAllowed(t)

		ctx, cancel := context.WithTimeout(t.Context(), framework.Patience)
		refusals := token.awaitFirstRefusal(ctx)
		began := time.Now()
		deallocate(t, env, namespace, "claim")
		deallocated := time.Now()
		refusal, ok := <-refusals
		cancel()
		if !ok {
			t.Fatalf("the token of namespace %s is good for ever", space)
		}
		// It may come before the deallocation's own answer.
		took := max(0, refusal.at.Sub(deallocated))
		if took > revocationBound+revocationRequests*max(refusal.slowest, deallocated.Sub(began)) {
			late++
		}
		for range 10 {
			if err := token.try(t.Context()); !framework.Refused(err) {
				t.Errorf("the token of namespace %s was refused, and then accepted again (error: %v)", space, err)
			}
		}
		times = append(times, took)
	}
	slices.Sort(times)
	if late > n/10 {
		t.Errorf("of %d tokens, %d were good for more than %s after the deallocation, and up to %s", n, late, revocationBound, times[n-1])
	}
	t.Logf("from the deallocation to the first refused request, %d times: p50 %d ms, max %d ms", n, times[n/2].Milliseconds(), times[n-1].Milliseconds())
}

// refusal is when a token was first refused, and how long the slowest answer until
// then took.
type refusal struct {
	at      time.Time
	slowest time.Duration
}

// awaitFirstRefusal uses the token without a pause. The channel tells when it was
// refused, and is closed when that does not come to pass.
func (b bearer) awaitFirstRefusal(ctx context.Context) <-chan refusal {
	refusals := make(chan refusal, 1)
	go func() {
		defer close(refusals)
		var slowest time.Duration
		for ctx.Err() == nil {
			asked := time.Now()
			err := b.try(ctx)
			answered := time.Now()
			slowest = max(slowest, answered.Sub(asked))
			if framework.Refused(err) {
				refusals <- refusal{answered, slowest}
				return
			}
		}
	}()
	return refusals
}

const blocker = "blocker"

// block keeps a namespace from going once it is Terminating.
func block(t *testing.T, namespace string) {
	t.Helper()
	if err := tryBlock(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
}

func tryBlock(ctx context.Context, namespace string) error {
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: blocker, Finalizers: []string{"example.com/wait"}}}
	_, err := env.Client.CoreV1().ConfigMaps(namespace).Create(ctx, config, metav1.CreateOptions{})
	return err
}

// unblock lets namespaces go.
func unblock(t *testing.T, namespaces []string) {
	t.Helper()
	for _, ns := range namespaces {
		if _, err := env.Client.CoreV1().ConfigMaps(ns).Patch(t.Context(), blocker, mergePatch, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Errorf("let namespace %s go: %v", ns, err)
		}
	}
}

// deadSpaces makes namespaces with the record of spaces whose claims are long gone
// and waits until the controller has deleted them, and they hang.
func deadSpaces(t *testing.T, driver string, n int) []string {
	t.Helper()
	keys := spaceapi.KeysFor(driver)
	names := make([]string, n)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	for i := range n {
		names[i] = fmt.Sprintf("%shung-%d", spaceapi.DefaultNamespacePrefix, i)
		group.Go(func() error {
			space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: names[i]}}
			if _, err := env.Client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
				return err
			}
			if err := tryBlock(ctx, names[i]); err != nil {
				return err
			}
			// Not before it is blocked: the controller ends it as soon as it sees it.
			record := fmt.Sprintf(`{"metadata":{"labels":{%q:"dead-%d",%q:"dead"},"annotations":{%q:"nowhere",%q:"claim-%d",%q:"space"}}}`,
				keys.ClaimUID, i, keys.AllocationID, keys.ClaimNamespace, keys.ClaimName, i, keys.Request)
			_, err := env.Client.CoreV1().Namespaces().Patch(ctx, names[i], mergePatch, []byte(record), metav1.PatchOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	awaitExact(t, driver)
	return names
}

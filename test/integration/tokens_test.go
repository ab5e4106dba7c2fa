// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	spaceapi "github.com/space-dra/space-dra-driver/pkg/space/api/v1alpha1"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// TestTokens_areRevokedOnDeallocation blocks the deletion of the namespaces until their tokens are
// denied, so that a revocation that waits for any deletion would fail. It logs how long each
// revocation takes, without a limit, which would depend on the machine.
func TestTokens_areRevokedOnDeallocation(t *testing.T) {
	const driver = "revocation.example.com"
	ns := env.Namespace(t)
	i := install(t, driver)
	i.start(t)
	env.CreateClaim(t, ns, framework.NewClaim("claim"))

	t.Run("alone", func(t *testing.T) {
		removeBlocker(t, env, measureRevocations(t, driver, ns, 10)...)
	})
	t.Run("behind 50 namespaces stuck in Terminating", func(t *testing.T) {
		stuck := i.createStuckSpaces(t, 50)
		removeBlocker(t, env, append(stuck, measureRevocations(t, driver, ns, 10)...)...)
	})
	deallocate(t, env, ns, "claim")
	awaitNoNamespaces(t, driver)
}

// measureRevocations measures n revocations. It returns the namespaces, which are stuck in
// Terminating.
func measureRevocations(t *testing.T, driver, namespace string, n int) (stuck []string) {
	t.Helper()
	var times []time.Duration
	for range n {
		space, took := measureRevocation(t, driver, namespace)
		stuck, times = append(stuck, space), append(times, took)
	}
	logTimes(t, times)
	return stuck
}

// logTimes logs how long revocations took.
func logTimes(t *testing.T, times []time.Duration) {
	t.Helper()
	slices.Sort(times)
	n := len(times)
	t.Logf("from the deallocation to the first denied request, %d times: p50 %d ms, max %d ms", n, times[n/2].Milliseconds(), times[n-1].Milliseconds())
}

// measureRevocation allocates and deallocates the claim, and measures how long a token that is used
// continuously stays valid. It returns the namespace, which is stuck in Terminating.
func measureRevocation(t *testing.T, driver, namespace string) (space string, took time.Duration) {
	t.Helper()
	allocateTo(t, driver, namespace, "claim")
	space = readySpace(t, namespace, "claim")
	if err := createBlocker(t.Context(), env, space); err != nil {
		t.Fatal(err)
	}
	request := newRequest(t, space)

	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	denials := firstDenial(ctx, request)
	deallocate(t, env, namespace, "claim")
	deallocated := time.Now()
	denied, ok := <-denials
	if !ok {
		t.Fatalf("the token of namespace %s stays valid", space)
	}
	for range 10 {
		if request(t.Context()) == nil {
			t.Errorf("the token of namespace %s is valid again after a denial", space)
		}
	}
	// The denial may come before the response to the deallocation.
	return space, max(0, denied.Sub(deallocated))
}

// firstDenial repeats a request without a pause. It sends the time of the first denial, and closes
// the channel without one if ctx is done.
func firstDenial(ctx context.Context, request framework.Request) <-chan time.Time {
	denials := make(chan time.Time, 1)
	go func() {
		defer close(denials)
		for ctx.Err() == nil {
			if framework.IsDenied(request(ctx)) {
				denials <- time.Now()
				return
			}
		}
	}()
	return denials
}

// testFinalizer is a finalizer that no controller removes, and blocker a ConfigMap with it.
const testFinalizer, blocker = "example.com/test", "blocker"

// createBlocker creates an object that keeps the namespace in Terminating.
func createBlocker(ctx context.Context, e *framework.Env, namespace string) error {
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: blocker, Finalizers: []string{testFinalizer}}}
	_, err := e.Client.CoreV1().ConfigMaps(namespace).Create(ctx, config, metav1.CreateOptions{})
	return err
}

// removeBlocker lets Kubernetes delete the namespaces.
func removeBlocker(t *testing.T, e *framework.Env, namespaces ...string) {
	t.Helper()
	for _, ns := range namespaces {
		framework.SetFinalizers(t, e.Client.CoreV1().RESTClient(), "configmaps", ns, blocker)
	}
}

// blockDeletion keeps a namespace in Terminating until release is called.
func blockDeletion(t *testing.T, e *framework.Env, namespace string) (release func()) {
	t.Helper()
	if err := createBlocker(t.Context(), e, namespace); err != nil {
		t.Fatal(err)
	}
	return func() { removeBlocker(t, e, namespace) }
}

// createStuckSpaces creates namespaces with the metadata of spaces whose claims do not exist, and
// waits until the controller has deleted them and they are stuck in Terminating.
func (i *installation) createStuckSpaces(t *testing.T, n int) []string {
	t.Helper()
	i.kill(t)
	names := make([]string, n)
	inParallel(t, n, func(ctx context.Context, k int) error {
		names[k] = fmt.Sprintf("%sstuck-%d", spaceapi.DefaultNamespacePrefix, k)
		space := spaceNamespace(i.driver, names[k], types.UID(names[k]), "nowhere", names[k])
		if _, err := env.Client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{}); err != nil {
			return err
		}
		return createBlocker(ctx, env, names[k])
	})
	i.start(t)
	awaitConsistent(t, i.driver)
	return names
}

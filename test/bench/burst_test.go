// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// BenchmarkBurst creates many pods at the same time on two nodes, with claims from a template and
// without, in turns.
func BenchmarkBurst(b *testing.B) {
	r := startReport(b, "burst")
	env := twoNodes(b)
	env.CreateTemplate(b, metav1.NamespaceDefault, "space")
	kinds := []struct {
		name string
		pod  func(name string) *corev1.Pod
	}{
		{noClaim, func(name string) *corev1.Pod { return framework.NewPod(name) }},
		{"with a space", func(name string) *corev1.Pod { return framework.NewPodFromTemplate(name, "space") }},
	}
	inTurns(*flags.rounds, len(kinds), func(round, i int) {
		seconds := startBurst(b, env, fmt.Sprintf("burst-%d-%d-", round, i), kinds[i].pod)
		b.Logf("round %d, %s: the last of %d pods ran after %.1f s", round, kinds[i].name, len(seconds), slices.Max(seconds))
		if round > 0 {
			r.add("from the first creation until each is Running, all rounds (s)", kinds[i].name, seconds...)
			r.add("until the last is Running, round by round (s)", kinds[i].name, slices.Max(seconds))
		}
	})
}

// startBurst creates pods, returns after how many seconds each was Running, and deletes them.
func startBurst(b *testing.B, env *framework.Env, prefix string, newPod func(name string) *corev1.Pod) []float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*patience)
	defer cancel()
	api := env.Client.CoreV1().Pods(metav1.NamespaceDefault)
	name := func(i int) string { return fmt.Sprint(prefix, i) }
	follow := follow(ctx, b, env.Client.CoreV1().RESTClient(), "pods", metav1.NamespaceDefault, fields.Everything())
	running, deleted := map[string]bool{}, 0
	var seconds []float64
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	group.Go(func() error {
		return eachUntil(ctx, *flags.burst, parallel, func(ctx context.Context, i int) error {
			_, err := api.Create(ctx, newPod(name(i)), metav1.CreateOptions{})
			return err
		})
	})
	group.Go(func() error {
		return follow(ctx, func(event watch.Event) bool {
			pod, ok := event.Object.(*corev1.Pod)
			switch {
			case !ok || !strings.HasPrefix(pod.Name, prefix):
			case event.Type == watch.Deleted:
				deleted++
			case pod.Status.Phase == corev1.PodRunning && !running[pod.Name]:
				running[pod.Name] = true
				seconds = append(seconds, time.Since(begin).Seconds())
				if len(running) == *flags.burst {
					group.Go(func() error {
						return eachUntil(ctx, *flags.burst, parallel, func(ctx context.Context, i int) error { return api.Delete(ctx, name(i), metav1.DeleteOptions{}) })
					})
				}
			}
			return deleted == *flags.burst
		})
	})
	if err := group.Wait(); err != nil {
		b.Fatalf("%d pods ran, and %d were deleted: %v", len(running), deleted, err)
	}
	return seconds
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/space-dra/space-dra-driver/test/bench/report"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Burst creates many pods at once on two nodes, with claims from a template and
// without, in turns. The first round warms up, and is not counted.
func Burst(ctx context.Context, s Settings) (*report.Report, error) {
	r := &report.Report{Name: "burst", Title: fmt.Sprintf("%d pods at once on two nodes", s.Burst), Machine: report.ThisMachine()}
	return r, s.onNodes(ctx, func(env *framework.Env) error {
		if _, err := env.Client.ResourceV1().ResourceClaimTemplates(metav1.NamespaceDefault).Create(ctx, framework.NewTemplate("space"), metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create a template: %w", err)
		}
		sorts := []struct {
			name string
			pod  func(name string) *corev1.Pod
		}{
			{"without a claim", func(name string) *corev1.Pod { return framework.NewPod(name) }},
			{"with a space", func(name string) *corev1.Pod { return framework.NewPodFromTemplate(name, "space") }},
		}
		series := make([]report.Series, len(sorts))
		lasts := make([][]float64, len(sorts))
		for round := range s.Rounds + 1 {
			for i := range sorts {
				// The first has the emptier cluster.
				i = (i + round) % len(sorts)
				seconds, err := s.burst(ctx, env, fmt.Sprintf("burst-%d-%d", round, i), sorts[i].pod)
				if err != nil {
					return fmt.Errorf("%s, round %d: %w", sorts[i].name, round, err)
				}
				s.logf("round %d, %s: the last of %d pods ran after %.1f s", round, sorts[i].name, len(seconds), slices.Max(seconds))
				if round > 0 {
					series[i].Name, series[i].Values = sorts[i].name, append(series[i].Values, seconds...)
					lasts[i] = append(lasts[i], slices.Max(seconds))
				}
			}
		}
		r.Tables = append(r.Tables,
			report.NewTable("from the first creation until each is Running, all rounds", "s", series...),
			report.NewTable("until the last is Running, round by round", "s",
				report.Series{Name: sorts[0].name, Values: lasts[0]}, report.Series{Name: sorts[1].name, Values: lasts[1]}))
		return nil
	})
}

// burst creates pods, returns after how long each was Running, and deletes them.
func (s Settings) burst(ctx context.Context, env *framework.Env, prefix string, newPod func(name string) *corev1.Pod) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	api := env.Client.CoreV1().Pods(metav1.NamespaceDefault)
	w, err := follow(ctx, api.List, api.Watch, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	defer w.Stop()
	name := func(i int) string { return fmt.Sprintf("%s-%d", prefix, i) }
	start := time.Now()
	created := make(chan error, 1)
	go func() {
		created <- each(ctx, s.Burst, s.Parallel, func(ctx context.Context, i int) error {
			_, err := api.Create(ctx, newPod(name(i)), metav1.CreateOptions{})
			return err
		})
	}()
	running, gone := map[string]bool{}, 0
	var seconds []float64
	for gone < s.Burst {
		select {
		case err := <-created:
			if err != nil {
				return nil, fmt.Errorf("create pods: %w", err)
			}
			created = nil
		case event, open := <-w.ResultChan():
			if !open {
				return nil, fmt.Errorf("%d pods ran when the watch ended", len(running))
			}
			pod, ok := event.Object.(*corev1.Pod)
			switch {
			case !ok || !hasPrefix(pod.Name, prefix):
			case event.Type == watch.Deleted:
				gone++
			case pod.Status.Phase == corev1.PodRunning && !running[pod.Name]:
				running[pod.Name] = true
				seconds = append(seconds, time.Since(start).Seconds())
				if len(running) < s.Burst {
					continue
				}
				if err := each(ctx, s.Burst, s.Parallel, func(ctx context.Context, i int) error { return api.Delete(ctx, name(i), metav1.DeleteOptions{}) }); err != nil {
					return nil, fmt.Errorf("delete pods: %w", err)
				}
			}
		}
	}
	return seconds, nil
}

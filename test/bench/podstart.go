// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bench measures the driver on clusters of its own. It reports ratios
// from one run, and no test depends on them.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// Series are the measurements of one sort of pod.
type Series struct {
	Name string `json:"name"`
	// Seconds are from the creation of the pod until it is seen to be Running.
	Seconds []float64 `json:"seconds"`
	Median  float64   `json:"median"`
	Max     float64   `json:"max"`
	// Ratio is the median against that of the first series.
	Ratio float64 `json:"ratio"`
}

// sortOfPod is a sort of pod to measure.
type sortOfPod struct {
	name string
	// make creates what the pod needs, and returns the pod.
	make func(ctx context.Context, name string) (*corev1.Pod, error)
}

// PodStart creates a cluster, starts that many pods of each sort in turns, and
// prints how long they took from creation to Running.
func PodStart(ctx context.Context, pods int, asJSON bool, out, progress io.Writer) (err error) {
	cfg := cluster.DefaultConfig()
	cfg.Name = "space-bench"
	cfg.Kubeconfig = filepath.Join(cfg.BuildDir, "bench.kubeconfig")
	cfg.Log = func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	if err := cluster.Delete(ctx, cfg); err != nil {
		return err
	}
	c, err := cluster.Create(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		if deleteErr := c.Delete(context.WithoutCancel(ctx)); err == nil {
			err = deleteErr
		}
	}()
	env, err := framework.NewEnv(c)
	if err != nil {
		return err
	}
	if err := env.InstallDriver(ctx, filepath.Dir(cfg.BuildDir)); err != nil {
		return err
	}
	series, err := measure(ctx, env, pods, progress)
	if err != nil {
		return err
	}
	return report(out, series, asJSON)
}

func measure(ctx context.Context, env *framework.Env, pods int, progress io.Writer) ([]Series, error) {
	sorts := []sortOfPod{
		{"without a claim", func(_ context.Context, name string) (*corev1.Pod, error) { return framework.NewPod(name), nil }},
		{"with a space", func(ctx context.Context, name string) (*corev1.Pod, error) {
			_, err := env.Client.ResourceV1().ResourceClaims(metav1.NamespaceDefault).Create(ctx, framework.NewClaim(name), metav1.CreateOptions{})
			return framework.NewPod(name, name), err
		}},
	}
	series := make([]Series, len(sorts))
	// The first pod of each sort warms up, and is not counted.
	for i := range pods + 1 {
		for j, sort := range sorts {
			name := fmt.Sprintf("pod-%d-%d", i, j)
			pod, err := sort.make(ctx, name)
			if err != nil {
				return nil, fmt.Errorf("make what pod %s needs: %w", name, err)
			}
			took, err := start(ctx, env, pod)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(progress, "pod %d %s: %.3f s\n", i, sort.name, took.Seconds())
			series[j].Name = sort.name
			if i > 0 {
				series[j].Seconds = append(series[j].Seconds, took.Seconds())
			}
		}
	}
	for j := range series {
		sorted := slices.Sorted(slices.Values(series[j].Seconds))
		series[j].Median = (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
		series[j].Max = sorted[len(sorted)-1]
		series[j].Ratio = series[j].Median / series[0].Median
	}
	return series, nil
}

// start creates a pod, waits until it runs, deletes it, waits until it is gone,
// and returns how long the first part took.
func start(ctx context.Context, env *framework.Env, pod *corev1.Pod) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, framework.Patience)
	defer cancel()
	api := env.Client.CoreV1().Pods(metav1.NamespaceDefault)
	w, err := api.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, pod.Name).String()})
	if err != nil {
		return 0, fmt.Errorf("watch pod %s: %w", pod.Name, err)
	}
	defer w.Stop()
	begin := time.Now()
	if _, err := api.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return 0, fmt.Errorf("create pod %s: %w", pod.Name, err)
	}
	if err := until(w, "running", func(e watch.Event) bool {
		p, ok := e.Object.(*corev1.Pod)
		return ok && p.Status.Phase == corev1.PodRunning
	}); err != nil {
		return 0, fmt.Errorf("pod %s: %w", pod.Name, err)
	}
	took := time.Since(begin)
	if err := api.Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
		return 0, fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	if err := until(w, "gone", func(e watch.Event) bool { return e.Type == watch.Deleted }); err != nil {
		return 0, fmt.Errorf("pod %s: %w", pod.Name, err)
	}
	return took, nil
}

func until(w watch.Interface, what string, holds func(watch.Event) bool) error {
	for event := range w.ResultChan() {
		if holds(event) {
			return nil
		}
	}
	return fmt.Errorf("the watch ended before it was %s", what)
}

func report(out io.Writer, series []Series, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(series)
	}
	fmt.Fprintf(out, "%-20s %5s %10s %10s %7s\n", "pod", "runs", "median", "max", "ratio")
	for _, s := range series {
		fmt.Fprintf(out, "%-20s %5d %8.3f s %8.3f s %7.2f\n", s.Name, len(s.Seconds), s.Median, s.Max, s.Ratio)
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics/testutil"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// stepMetrics are the histograms of the durations of the driver's steps during the start of
// a pod.
var stepMetrics = []struct{ selector, name, of string }{
	{framework.ControllerPods, "space_dra_provision_step_duration_seconds_sum", "controller"},
	{framework.PluginPods, "space_dra_prepare_step_duration_seconds_sum", "plugin"},
}

// driverSteps returns how many seconds the driver has spent in each of its steps so far, on
// all nodes.
func driverSteps(ctx context.Context, env *framework.Env) (map[string]float64, error) {
	steps := map[string]float64{}
	for _, metric := range stepMetrics {
		pods, err := env.DriverPods(ctx, metric.selector)
		if err != nil {
			return nil, err
		}
		for _, pod := range pods {
			samples, err := scrape(ctx, env, &pod)
			if err != nil {
				return nil, err
			}
			for _, sample := range samples[metric.name] {
				steps[metric.of+": "+string(sample.Metric["step"])] += float64(sample.Value)
			}
		}
	}
	return steps, nil
}

// metricsPort is the default of both components.
const metricsPort = "8080"

// scrape reads the metrics of one of the driver's pods through the API server.
func scrape(ctx context.Context, env *framework.Env, pod *corev1.Pod) (testutil.Metrics, error) {
	raw, err := env.Client.CoreV1().Pods(pod.Namespace).ProxyGet("", pod.Name, metricsPort, "metrics", nil).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the metrics of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return parseMetrics(string(raw))
}

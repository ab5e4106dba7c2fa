// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package churn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/space-dra/space-dra-driver/test/e2e/churn/availability"
	"github.com/space-dra/space-dra-driver/test/framework"
)

// The components that are killed, and the time between faults. Changes have no shortest interval.
const (
	apiServer         = "API server"
	controllerPod     = "controller pod"
	controllerProcess = "controller process"
	pluginPod         = "plugin pod"
	pluginProcess     = "plugin process"

	shortestInterval = 6 * time.Second
	longestInterval  = 18 * time.Second

	shortestOutage = 2 * time.Second
	longestOutage  = 10 * time.Second
)

// fault is a fault of the cluster, which has ended when the function returns.
type fault struct {
	name string
	do   func(context.Context, *rand.Rand) error
}

// kills returns a fault for each component that is killed.
func (r *run) kills() []fault {
	var kills []fault
	for _, what := range []string{apiServer, controllerPod, controllerProcess, pluginPod, pluginProcess} {
		kills = append(kills, fault{what + " killed", func(ctx context.Context, rng *rand.Rand) error { return r.kill(ctx, rng, what) }})
	}
	return kills
}

// injectFaults injects faults one after the other, at random intervals and equally often, until the
// context ends.
func (r *run) injectFaults(ctx context.Context, rng *rand.Rand, faults []fault, shortestInterval, longestInterval time.Duration) error {
	for {
		for _, i := range rng.Perm(len(faults)) {
			if !pause(ctx, randomDuration(rng, shortestInterval, longestInterval)) {
				return nil
			}
			// A fault that has begun must end, so that the cluster recovers.
			faultCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestFault)
			r.t.Logf("fault: %s", faults[i].name)
			r.faultTransitions.Add(1)
			err := faults[i].do(faultCtx, rng)
			r.faultTransitions.Add(1)
			cancel()
			if err != nil {
				return fmt.Errorf("%s: %w", faults[i].name, err)
			}
			r.mutex.Lock()
			r.faults[faults[i].name]++
			r.mutex.Unlock()
		}
	}
}

func (r *run) kill(ctx context.Context, rng *rand.Rand, what string) error {
	switch what {
	case apiServer:
		return r.killAPIServer(ctx, randomDuration(rng, shortestOutage, longestOutage))
	case controllerPod, controllerProcess:
		return r.killPod(ctx, rng, framework.ControllerPods, what == controllerProcess)
	default:
		return r.killPod(ctx, rng, framework.PluginPods, what == pluginProcess)
	}
}

func (r *run) killAPIServer(ctx context.Context, length time.Duration) error {
	r.apiServer.Lock()
	defer r.apiServer.Unlock()
	host := env.Cluster.ControlPlane()
	r.t.Logf("the API server is killed for %s", length.Round(time.Millisecond))
	outage := availability.Outage{Begin: time.Now()}
	if err := host.Kill(ctx, "kube-apiserver"); err != nil {
		return err
	}
	pause(ctx, length)
	if err := host.Start(ctx, "kube-apiserver"); err != nil {
		return err
	}
	outage.End = time.Now()
	r.outages = append(r.outages, outage)
	return nil
}

// killPod kills the process of one of the driver's pods, or force-deletes the pod.
func (r *run) killPod(ctx context.Context, rng *rand.Rand, selector string, process bool) error {
	number := rng.Int()
	var pods []corev1.Pod
	if err := r.retry(ctx, "find a pod to kill", never, func(ctx context.Context) (err error) {
		pods, err = env.DriverPods(ctx, selector)
		return err
	}); err != nil || len(pods) == 0 {
		return err
	}
	pod := pods[number%len(pods)]
	if !process {
		r.t.Logf("pod %s is force-deleted", pod.Name)
		return r.retry(ctx, "delete pod "+pod.Name, apierrors.IsNotFound, func(ctx context.Context) error {
			return env.ForceDelete(ctx, pod.Namespace, pod.Name)
		})
	}
	r.t.Logf("the process of pod %s is killed", pod.Name)
	if err := env.KillContainer(ctx, &pod); err != nil {
		// Its container is starting, or in back-off after an earlier kill.
		r.t.Logf("it was not killed: %v", err)
	}
	return nil
}

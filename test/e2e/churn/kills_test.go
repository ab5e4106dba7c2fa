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

// What is killed, and how long there is peace between. Changes may follow each other.
const (
	apiServer         = "API server"
	controllerPod     = "controller pod"
	controllerProcess = "controller process"
	pluginPod         = "plugin pod"
	pluginProcess     = "plugin process"

	shortestPeace = 6 * time.Second
	longestPeace  = 18 * time.Second

	shortestOutage = 2 * time.Second
	longestOutage  = 10 * time.Second
)

// fault is something that happens to the cluster, and is over when the function returns.
type fault struct {
	name string
	do   func(context.Context, *rand.Rand) error
}

// kills are the parts of the cluster that are killed.
func (r *run) kills() []fault {
	var kills []fault
	for _, what := range []string{apiServer, controllerPod, controllerProcess, pluginPod, pluginProcess} {
		kills = append(kills, fault{what + " killed", func(ctx context.Context, rng *rand.Rand) error { return r.kill(ctx, rng, what) }})
	}
	return kills
}

// breakThings lets one fault after another happen until the context ends. All of them come
// equally often, after some peace. Each may last as long as the limit.
func (r *run) breakThings(ctx context.Context, rng *rand.Rand, faults []fault, limit, shortestPeace, longestPeace time.Duration) error {
	for {
		for _, i := range rng.Perm(len(faults)) {
			if !pause(ctx, between(rng, shortestPeace, longestPeace)) {
				return nil
			}
			// What has been begun is finished.
			breaking, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
			r.t.Logf("fault: %s", faults[i].name)
			r.disruptions.Add(1)
			err := faults[i].do(breaking, rng)
			r.disruptions.Add(1)
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
		return r.killAPIServer(ctx, between(rng, shortestOutage, longestOutage))
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

// killPod kills one of the driver's pods: only its process, or also its object.
func (r *run) killPod(ctx context.Context, rng *rand.Rand, selector string, process bool) error {
	number := rng.Int()
	var pods []corev1.Pod
	if err := r.persist(ctx, "find a pod to kill", never, func(ctx context.Context) (err error) {
		pods, err = env.DriverPods(ctx, selector)
		return err
	}); err != nil || len(pods) == 0 {
		return err
	}
	pod := pods[number%len(pods)]
	if !process {
		r.t.Logf("pod %s is deleted by force", pod.Name)
		return r.persist(ctx, "delete pod "+pod.Name, apierrors.IsNotFound, func(ctx context.Context) error {
			return env.ForceDelete(ctx, pod.Namespace, pod.Name)
		})
	}
	r.t.Logf("the process of pod %s is killed", pod.Name)
	if err := env.KillContainer(ctx, &pod); err != nil {
		// Its container is only just starting, or waits after an earlier kill.
		r.t.Logf("it was not killed: %v", err)
	}
	return nil
}

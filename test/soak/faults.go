// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/space-dra/space-dra-driver/test/framework"
)

// Outage is a time in which the API server did not answer.
type Outage struct {
	Begin, End time.Time
}

// What is killed, and how long there is peace between.
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

// breakThings kills one thing after another until the context ends, and leaves
// the API server up. All sorts of kills come equally often.
func (r *run) breakThings(ctx context.Context, rng *rand.Rand) error {
	sorts := []string{apiServer, controllerPod, controllerProcess, pluginPod, pluginProcess}
	for {
		for _, i := range rng.Perm(len(sorts)) {
			if !pause(ctx, between(rng, shortestPeace, longestPeace)) {
				return nil
			}
			// What has been begun is finished.
			if err := r.kill(context.WithoutCancel(ctx), rng, sorts[i]); err != nil {
				return fmt.Errorf("kill the %s: %w", sorts[i], err)
			}
			r.report.Kills[sorts[i]]++
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
	host := r.Env.Cluster.ControlPlane()
	r.Log("the API server is killed for %s", length.Round(time.Millisecond))
	outage := Outage{Begin: time.Now()}
	if err := host.Kill(ctx, "kube-apiserver"); err != nil {
		return err
	}
	pause(ctx, length)
	if err := host.Start(ctx, "kube-apiserver"); err != nil {
		return err
	}
	outage.End = time.Now()
	r.report.Outages = append(r.report.Outages, outage)
	return nil
}

// killPod kills one of the driver's pods: only its process, or also its object.
func (r *run) killPod(ctx context.Context, rng *rand.Rand, selector string, process bool) error {
	number := rng.Int()
	pods, err := r.Env.DriverPods(ctx, selector)
	if err != nil || len(pods) == 0 {
		return err
	}
	pod := pods[number%len(pods)]
	if !process {
		r.Log("pod %s is deleted by force", pod.Name)
		if err := r.Env.ForceDelete(ctx, pod.Namespace, pod.Name); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	}
	r.Log("the process of pod %s is killed", pod.Name)
	if err := r.Env.KillContainer(ctx, &pod); err != nil {
		// Its container is only just starting, or waits after an earlier kill.
		r.Log("that was in vain: %v", err)
	}
	return nil
}

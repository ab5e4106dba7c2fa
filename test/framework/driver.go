// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"path/filepath"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// DriverNamespace is where the driver is installed.
const DriverNamespace = "space-dra-driver"

// InstallDriver builds the driver's image and installs it from the chart, as the
// README says, and waits until all its pods run.
func (e *Env) InstallDriver(ctx context.Context, root string, values ...string) error {
	cfg := cluster.DefaultConfig()
	tars, err := cluster.BuildImages(ctx, cfg, filepath.Join(cfg.BuildDir, "images"), "v0.1.0", "driver", "toolbox")
	if err != nil {
		return fmt.Errorf("build the images: %w", err)
	}
	if err := e.Cluster.LoadImages(ctx, tars...); err != nil {
		return fmt.Errorf("load the images: %w", err)
	}
	args := []string{"upgrade", "-i", "--create-namespace", "--namespace", DriverNamespace, "space-dra-driver",
		filepath.Join(root, "deployments/helm/space-dra-driver")}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	if out, err := e.Tool(ctx, "helm", args...); err != nil {
		return fmt.Errorf("install the driver: %w: %s", err, out)
	}
	return e.AwaitRollout(ctx)
}

// AwaitRollout waits until the driver's pods are those that the chart asks for,
// and its devices can be allocated.
func (e *Env) AwaitRollout(ctx context.Context) error {
	out, err := e.TryKubectl(ctx, "rollout", "status", "-n", DriverNamespace, "deployment,daemonset", "--timeout=3m")
	if err != nil {
		return fmt.Errorf("wait for the driver's pods: %w: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	slices := cache.NewListWatchFromClient(e.Client.ResourceV1().RESTClient(), "resourceslices", "", fields.Everything())
	if _, err := watchtools.UntilWithSync(ctx, slices, &resourceapi.ResourceSlice{}, nil, func(watch.Event) (bool, error) { return true, nil }); err != nil {
		return fmt.Errorf("wait for the driver's ResourceSlices: %w", err)
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/space-dra/space-dra-driver/test/cluster"
	"github.com/space-dra/space-dra-driver/test/framework"
	"github.com/space-dra/space-dra-driver/tools/release/image"
)

const (
	// exampleDriver is kubernetes-sigs/dra-example-driver, whose devices cost nothing
	// but what any device costs: a claim of it is the least that one can cost.
	exampleDriver = "dra-example-driver"
	exampleClass  = "gpu.example.com"
	// examplePlugin is the driver's program, which `make bench` builds.
	examplePlugin = "dra-example-kubeletplugin"
)

// installExampleDriver installs the example driver from its own chart, with an image
// of the program that was built of the same version.
func installExampleDriver(ctx context.Context, env *framework.Env) (err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	repository := cluster.ImageRepository + "/" + exampleDriver
	archive := filepath.Join(dir, "image.tar")
	if err := image.WriteArchive(archive, repository+":"+cluster.DefaultTag, image.Spec{
		Architecture: runtime.GOARCH,
		Programs:     map[string]string{"usr/bin/" + examplePlugin: framework.Binary(examplePlugin)},
		Config:       image.Config{Env: []string{"PATH=/usr/bin"}},
	}); err != nil {
		return fmt.Errorf("build an image of %s, which make bench builds: %w", examplePlugin, err)
	}
	if err := env.Cluster.LoadImages(ctx, archive); err != nil {
		return fmt.Errorf("load the image of %s: %w", exampleDriver, err)
	}
	out, err := env.Tool(ctx, "helm", "upgrade", "-i", "--create-namespace", "--namespace", exampleDriver, exampleDriver, framework.Binary(exampleDriver+"-chart"),
		"--set", "image.repository="+repository, "--set", "image.tag="+cluster.DefaultTag)
	if err != nil {
		return fmt.Errorf("install %s: %w: %s", exampleDriver, err, out)
	}
	if out, err := env.TryKubectl(ctx, "rollout", "status", "-n", exampleDriver, "daemonset", "--timeout=3m"); err != nil {
		return fmt.Errorf("wait for the pods of %s: %w: %s", exampleDriver, err, out)
	}
	return nil
}

// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/space-dra/space-dra-driver/test/cluster"
)

// DriverNamespace is the namespace and name of the driver's release.
const DriverNamespace = "space-dra-driver"

// InstallDriver builds the driver's image, installs the chart as the README shows, with additional
// files of values, and waits until all pods run.
func (e *Env) InstallDriver(ctx context.Context, root string, valueFiles ...string) error {
	if err := e.LoadImages(ctx, root, "", cluster.DefaultTag, cluster.Images()...); err != nil {
		return err
	}
	var args []string
	for _, file := range valueFiles {
		args = append(args, "--values", filepath.Join(root, file))
	}
	if err := e.installRelease(ctx, root, DriverNamespace, args); err != nil {
		return err
	}
	return e.AwaitRollout(ctx)
}

// UpgradeDriver upgrades the release to other values, as helm's flags give them, and does not wait
// for its pods.
func (e *Env) UpgradeDriver(ctx context.Context, flags ...string) error {
	return e.installRelease(ctx, Root(), DriverNamespace, flags)
}

// LoadImages builds images of the source in the root directory, and loads them into the cluster.
// Their archives are in the directory, or in one that all tests share and that one process writes
// at a time.
func (e *Env) LoadImages(ctx context.Context, root, archives, tag string, names ...string) error {
	cfg := cluster.DefaultConfig()
	cfg.BuildDir = filepath.Join(root, "build")
	dir := filepath.Join(cfg.BuildDir, "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("build the images: %w", err)
	}
	lock, err := os.Create(filepath.Join(dir, ".lock"))
	if err != nil {
		return fmt.Errorf("build the images: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("wait for another process that builds the images: %w", err)
	}
	if archives == "" {
		archives = dir
	}
	tars, err := cluster.BuildImages(ctx, cfg, archives, tag, names...)
	if err != nil {
		return fmt.Errorf("build the images: %w", err)
	}
	if err := e.Cluster.LoadImages(ctx, tars...); err != nil {
		return fmt.Errorf("load the images: %w", err)
	}
	return nil
}

// InstallAnotherRelease installs another release of the chart for one test, in a namespace of the same
// name, with values as key=value. The test may uninstall it, and delete its namespace.
func (e *Env) InstallAnotherRelease(t testing.TB, name string, values ...string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Timeout)
		defer cancel()
		if out, err := e.Tool(ctx, "helm", "uninstall", "--no-hooks", "--ignore-not-found", "--wait", "--namespace", name, name); err != nil {
			t.Errorf("uninstall release %s: %v: %s", name, err, out)
		}
		if err := e.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	if err := e.installRelease(t.Context(), Root(), name, SetFlags(values...)); err != nil {
		t.Fatal(err)
	}
	if err := e.awaitPods(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// SetFlags returns helm flags --set for values, each as key=value.
func SetFlags(values ...string) []string {
	var args []string
	for _, value := range values {
		args = append(args, "--set", value)
	}
	return args
}

// Helm runs helm as the cluster's administrator, and returns its output.
func (e *Env) Helm(t testing.TB, args ...string) string {
	t.Helper()
	out, err := e.Tool(t.Context(), "helm", args...)
	if err != nil {
		t.Fatalf("helm %s: %v: %s", args[0], err, out)
	}
	return out
}

// installRelease installs a release in a namespace of the same name, with flags of helm.
func (e *Env) installRelease(ctx context.Context, root, name string, values []string) error {
	args := append([]string{"upgrade", "-i", "--create-namespace", "--namespace", name, name,
		filepath.Join(root, "deployments/helm/space-dra-driver")}, values...)
	if dir := e.Cluster.KubeletDir(); dir != cluster.DefaultKubeletDir {
		args = append(args, "--set", "kubeletPlugin.kubeletRootDir="+dir)
	}
	if out, err := e.Tool(ctx, "helm", args...); err != nil {
		return fmt.Errorf("install release %s: %w: %s", name, err, out)
	}
	return nil
}

func (e *Env) awaitPods(ctx context.Context, release string) error {
	out, err := e.TryKubectl(ctx, "rollout", "status", "-n", release, "deployment,daemonset", "--timeout="+Timeout.String())
	if err != nil {
		return fmt.Errorf("wait for the pods of release %s: %w: %s", release, err, out)
	}
	return nil
}

// AwaitRollout waits until the driver's pods are up to date, and its devices are published.
func (e *Env) AwaitRollout(ctx context.Context) error {
	if err := e.awaitPods(ctx, DriverNamespace); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	slices := Object{e.Client.ResourceV1().RESTClient(), "resourceslices", "", ""}
	_, err := Until(ctx, slices, That("published", func(*resourceapi.ResourceSlice) bool { return true }))
	return err
}
